"""Operations by a schedule, whatever is answered: the figures for latencies. See loadtest/README.md."""
