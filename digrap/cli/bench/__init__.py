"""What tools/bench_optim.py and tools/bench_train.py measure."""
