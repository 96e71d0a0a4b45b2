"""From what a user names to a JobSpec: scripts, folders, MLflow projects, git addresses, job files.

::

    JobRequest --read_source--> JobSource --job_spec(parameters)--> JobSpec
    what was    files are read,  can be     types are checked,
    said        git is fetched   stored     nothing is touched

================  =============================================================
``requests``      what a user may say: flags, a job file, Python
``sources``       the way shown above
``entry_points``  a command with its parameters, as an MLproject declares it
``mlprojects``    the file MLproject
``environments``  python_env.yaml, conda.yaml, docker_env, files of requirements
``job_files``     the file job.yaml
``git_sources``   checkouts of git addresses
``words``         compute and lengths of time in the users' words
``documents``     YAML with the line of what is wrong
================  =============================================================
"""
