"""Sweeps: many jobs of one source with other parameters each, and the best of them.

::

    propose -> note -> submit -> note -> (it ends) -> settle -> read the metric -> note -> tell the sampler

What is noted is durable before the next step is taken, and each step may be done again: a sweep that was
killed anywhere goes on where it was, with the jobs that it had started. See ``running``.
"""
