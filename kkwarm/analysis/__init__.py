"""Statistics of studies: metrics, paired differences, sample efficiency, claims of papers, and the report.

A set of claims (hook `kkwarm_claims`) reads `study_data.StudyData`, pairs conditions by `cells.pair`, tests them by
`stats.estimates`, and returns `kkwarm.schema.report.Claim` objects; `papers.warm_up` is an example.
"""
