"""Evolution of schedules: genomes are programs, NSGA-II chooses among them, a store remembers every evaluation."""
