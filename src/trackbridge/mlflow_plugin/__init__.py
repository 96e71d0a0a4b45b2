"""mlflow's own client on top of ours: ``mlflow.set_tracking_uri("bridge:")``, and the program stays as it is.

====================================  =========================================================
URI                                   backend
====================================  =========================================================
``bridge:``                           as configured: ``BRIDGE_TRACKING_URI``, the project
``bridge:X``                          our tracking URI X, also a path or a remote's name
``bridge+X`` (``bridge+https://…``)   the same for the schemes that mlflow is told of
====================================  =========================================================

mlflow finds ``entry`` by the entry points of the distribution; importing that loads neither mlflow nor
anything heavy of ours. Only the other modules of this package import mlflow at module level.
"""
