"""`onethinker launch kubernetes`: manifests of a job that is a run on several nodes."""

from onethinker.commands.launching import KubernetesOptions
from onethinker.commands.options import Flags


def launch_kubernetes(options: Flags[KubernetesOptions]) -> None:
    """Print manifests for kubectl: an indexed job with one pod per node, and the service that connects them.

    With --kind jobset it is a JobSet, which restarts all pods together when one fails.
    """
    import yaml

    from onethinker.commands.launching import check_mount, check_run, kubernetes_manifests

    check_run(options)
    check_mount(options)
    print(yaml.safe_dump_all(kubernetes_manifests(options), sort_keys=False), end="")
