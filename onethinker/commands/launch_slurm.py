"""`onethinker launch slurm`: a file for sbatch that starts a run on several nodes."""

from onethinker.commands.launching import SlurmOptions
from onethinker.commands.options import Flags


def launch_slurm(options: Flags[SlurmOptions]) -> None:
    """Print a job script for sbatch that starts a run on several nodes of a Slurm cluster.

    Options on sbatch's command line override those in the script: `sbatch --partition=gpu --account=lab job.sh`.
    """
    from onethinker.commands.launching import check_run, slurm_script

    check_run(options)
    print(slurm_script(options), end="")
