"""The clipped logistic step in numpy, for comparison.

Reads from standard input a line "rows columns", the matrix as float64 in row
order, the targets as float64, the clip factors as float64. Then each step is
asked for by the coefficients as float64 and answered by a line: nanoseconds.
"""
import sys
import time

import numpy

source = sys.stdin.buffer


def floats(n):
    return numpy.frombuffer(source.read(8 * n))


rows, columns = map(int, source.readline().split())
x = floats(rows * columns).reshape(rows, columns).copy()
y = floats(rows).copy()
factor = floats(rows).copy()


def step(theta):
    r = 1 / (1 + numpy.exp(-(x @ theta))) - y
    return x.T @ numpy.clip(r, -factor, factor)


while True:
    theta = floats(columns)
    if len(theta) < columns:
        break
    start = time.perf_counter_ns()
    step(theta)
    print(time.perf_counter_ns() - start, flush=True)
