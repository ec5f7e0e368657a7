"""What runs inside the sandbox; imported there as the package ``inside``, without the rest of kkwarm."""
