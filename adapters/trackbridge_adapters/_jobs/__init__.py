"""What the backends of jobs on other machines share: the code that is sent, and the program that starts it.

====================  =====================================================================
``code_files``        which files of a folder are sent, and what stays behind
``ignore_patterns``   what git's patterns mean, one by one
``findings``          what the checks of every backend say in the same words
``refusals``          refusing a job by what its check has found
``plan``              what the machine is told: one JSON file
``log_tails``         beginning to read a log near its end
``bootstrap``         the program that carries the plan out there; only the standard library
====================  =====================================================================
"""
