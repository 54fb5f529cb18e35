#!/bin/sh
# Debian's Slurm, munge and sshd for the tests of `tunelock remote`. The tests start them as private programs on
# loopback; no service of the system is started or enabled here, now or at the next boot.
set -u
export PATH="$PATH:/usr/sbin:/sbin"  # where Debian puts daemons; a user's PATH often lacks it
PROGRAMS="ssh ssh-keygen sshd munged slurmctld slurmd sbatch"
SERVICES="ssh.service ssh.socket munge.service slurmctld.service slurmd.service"
POLICY=/usr/sbin/policy-rc.d  # what packages ask whether they may start a service

all_there() {
	for name in $PROGRAMS; do command -v "$name" > /dev/null || return 1; done
}

tell() {
	echo "$*" >&2
	echo "The tests in tests/remote need slurm-wlm, munge and openssh-server, and fail without them." >&2
	echo "Debian, Ubuntu: sudo apt-get install --no-install-recommends slurm-wlm munge openssh-server" >&2
	exit 0
}

all_there && exit 0
command -v apt-get > /dev/null || tell "Slurm or sshd is missing, and there is no apt-get to install them with."
if [ "$(id -u)" = 0 ]; then may=; else may="sudo -n"; fi
$may true || tell "Slurm or sshd is missing, and you may not install packages."

there_before=
for service in $SERVICES; do
	[ -e "/lib/systemd/system/$service" ] && there_before="$there_before $service"
done
if [ ! -e "$POLICY" ]; then
	trap '$may rm -f "$POLICY"' EXIT
	printf '#!/bin/sh\nexit 101\n' | $may tee "$POLICY" > /dev/null && $may chmod 755 "$POLICY"
fi
$may apt-get update -q &&
	$may env DEBIAN_FRONTEND=noninteractive apt-get install -yq --no-install-recommends slurm-wlm munge openssh-server
for service in $SERVICES; do
	case " $there_before " in *" $service "*) continue ;; esac
	command -v systemctl > /dev/null && $may systemctl disable --quiet "$service" 2> /dev/null
done
all_there || tell "Slurm or sshd is missing and could not be installed."
