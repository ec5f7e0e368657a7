"""Judges what is stored, without a model: saved outputs (`score`), runs by today's verifiers (`rescore`), and whether a
run still agrees with itself and with this machine (`agreement`).
"""
