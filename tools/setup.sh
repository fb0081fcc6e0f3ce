#!/bin/sh
# setup.sh PACKAGE... - installs those Debian packages that are missing; nothing when all are there.
set -e
missing=
for p in "$@"; do
    case $(dpkg-query -W -f '${Status}' "$p" 2>/dev/null) in
    "install ok installed") ;;
    *) missing="$missing $p" ;;
    esac
done
[ -n "$missing" ] || exit 0
if ! command -v apt-get >/dev/null 2>&1; then
    echo "setup: this is not Debian; please install the counterparts of:$missing" >&2
    exit 1
fi
sudo=
[ "$(id -u)" -eq 0 ] || sudo=sudo
echo "setup: installing$missing"
export DEBIAN_FRONTEND=noninteractive
$sudo apt-get update -q >/dev/null
$sudo apt-get install -y -q --no-install-recommends $missing >/dev/null
