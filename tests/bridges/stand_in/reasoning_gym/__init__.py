"""A stand-in for reasoning-gym: its interface, and one data set for each thing that its data sets do."""
