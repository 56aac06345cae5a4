"""What MLflow is told of a ``kedro run``, how it gets there, and how it is read back.

    hook            Kedro's events → tracked_run
    tracked_run     one `kedro run`: its MLflow runs, one a stage, and what was seen in them
    mirroring       a saved dataset → entries, as the catalog's ``metadata.mlflow`` says
    entries         everything that is ever said to MLflow, as data
    recorder        entries → sender; once the server is gone, → outbox
    sender          an entry → calls of MLflow's client
    logged_models   a deployable as a LoggedModel
    registry        versions of a registered model, their tags and aliases
    outbox          entries on disk, and their way to the server later
    identity        a run's name and the tags that tell it from others
    lifetime        what becomes of the runs when the process ends, however it ends
    watcher         a process that sees ours die
    ending          ends runs whose process is gone
    processes       which process this is, and whether another is still there
    reach           whether a server can be reached
    system_metrics  processor, memory, disk and network during the run
    reading         earlier runs, read back

Nothing is imported here: the watcher and ``sync-tracking`` take single modules and must stay light.
"""
