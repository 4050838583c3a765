"""What streams live from: one subscription and one sample a process, however many watch."""
