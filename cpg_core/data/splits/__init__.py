"""Which images a task trains, validates and tests on: by class, by group, by person, in pairs."""
