#!/usr/bin/env bash
# Installs the packages that packaging/build.sh made, runs them, upgrades and removes them, in a copy of this machine
# that is thrown away. Needs root on Debian, for an overlay of the file system.
#
#   packaging/check.sh [OUT]      OUT is target/packages by default
#
# Checks what is there: deb, rpm (rpm), container image (skopeo), and the tar.gz of a static binary.
set -euo pipefail
out=$(realpath "${1:-target/packages}")
if [ -z "${IN_A_COPY:-}" ]; then
  # Whatever is started here ends with it.
  IN_A_COPY=1 exec unshare --mount --propagation private --pid --fork --kill-child --mount-proc "$(realpath "$0")" "$out"
fi

checked=0
ok() { echo "ok: $*"; checked=$((checked + 1)); }
fail() { echo "packaging/check.sh: $*" >&2; exit 1; }
# is WHAT EXPECTED ACTUAL
is() { [ "$2" = "$3" ] || fail "$1: expected $2, is $3"; }
# has TEXT PART
has() { case $1 in *"$2"*) ;; *) fail "'$2' is missing in: $1" ;; esac }

copy=$(mktemp -d)
mount -t tmpfs -o size=4g tmpfs "$copy"
trap 'umount -l "$copy"; rmdir "$copy"' EXIT

# machine KIND: a copy of this machine at $machine, with the packages of this kind in /tmp
machine() {
  machine=$copy/$1/root
  mkdir -p "$copy/$1"/{upper,work} "$machine"
  mount -t overlay overlay -o "lowerdir=/,upperdir=$copy/$1/upper,workdir=$copy/$1/work" "$machine"
  mount -t proc proc "$machine/proc"
  mount --rbind /dev "$machine/dev"
  mount -t tmpfs tmpfs "$machine/run"
  mount -t tmpfs -o mode=1777 tmpfs "$machine/tmp"
  cp "$out"/*."$1" "$machine/tmp/"
}
on() { chroot "$machine" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive "$@"; }
modes() { on stat -c '%a %U:%G' "$1"; }

# night ROOT USER PROGRAM: a job of 300 references as USER below ROOT, in ROOT's /var/lib/yunxin-archiver
night() {
  local root=$1 user=$2 program=$3 home=/var/lib/yunxin-archiver
  local there=$root$home/night
  mkdir -p "$there"
  echo '{"world": "any", "rate_limit": 1000}' >"$there/api.json"
  printf simulated-app-secret >"$there/secret"
  { echo conversation_id,message_server_id,create_time
    seq 1 300 | awk '{ printf "alice|1|b%d,%d,%.0f\n", $1 % 3, 1000 + $1, 1790899200000 + $1 }'; } >"$there/refs.csv"
  cat >"$there/jobs.yaml" <<JOB
version: 1
state: $home/night/state
apps:
  main: { app_key: simulated-app-key, app_secret: "file:$home/night/secret", endpoints: ["URL"], rate_limit: 500 }
jobs:
  nightly:
    app: main
    fetch: { give_up_after: 30s }
    source: { csv: { path: $home/night/refs.csv } }
    sink: { parquet: { path: $home/night/archive, partition_by: [date], timezone: Asia/Shanghai } }
JOB
  chmod 600 "$there/secret"
  chown -R "$(stat -c %u:%g "$root$home")" "$there"
  # As a container runtime or a service manager would: an environment with nothing of this one.
  local as=(env -i TMPDIR=/tmp SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt "$(command -v chroot)" "--userspec=$user"
    "$root" "$program" -c "$home/night/jobs.yaml")
  : >"$copy/url"
  "${as[@]}" simulate --port 0 --settings $home/night/api.json >"$copy/url" 2>"$copy/simulate" &
  local server=$! url="" tries=0
  until url=$(head -n 1 "$copy/url") && [ -n "$url" ]; do
    kill -0 $server 2>/dev/null && [ $((tries += 1)) -lt 600 ] || fail "the simulator does not start: $(cat "$copy/simulate")"
    sleep 0.1
  done
  # By name, so that looking up names is tried as well.
  sed -i "s|URL|${url/127.0.0.1/localhost}|" "$there/jobs.yaml"
  "${as[@]}" -q run --json >"$copy/summary" || fail "the run ended with $?: $(cat "$copy/summary")"
  kill $server
  is "archived messages" 300 "$(jq .jobs[0].references.archived "$copy/summary")"
  "${as[@]}" verify nightly >/dev/null
  # Without certificates of authorities nothing could be trusted; with them this server is not there.
  sed -i "s|http://localhost:[0-9]*|https://localhost:1|; s|30s|1s|" "$there/jobs.yaml"
  rm -r "$there/state" "$there/archive"
  local said
  said=$("${as[@]}" check --connect 2>&1 || true)
  case $said in *ertificate*) fail "certificates: $said" ;; esac
  has "$said" "Connection refused"
}

for deb in "$out"/*.deb; do
  [ -e "$deb" ] || break
  machine deb
  # A run under way goes on when the package is upgraded.
  ! dpkg-deb -I "$deb" postinst | grep restart || fail "the package restarts something"
  on dpkg -i "/tmp/$(basename "$deb")" >/dev/null
  is /etc/yunxin-archiver "750 root:yunxin-archiver" "$(modes /etc/yunxin-archiver)"
  is jobs.yaml "640 root:yunxin-archiver" "$(modes /etc/yunxin-archiver/jobs.yaml)"
  is /var/lib/yunxin-archiver "750 yunxin-archiver:yunxin-archiver" "$(modes /var/lib/yunxin-archiver)"
  is the-binary "755 root:root" "$(modes /usr/bin/yunxin-archiver)"
  is shell /usr/sbin/nologin "$(on getent passwd yunxin-archiver | cut -d: -f7)"
  ! on runuser -u nobody -- cat /etc/yunxin-archiver/jobs.yaml 2>/dev/null || fail "everybody reads jobs.yaml"
  ok "deb: user, directories and modes"

  units="/lib/systemd/system/yunxin-archiver.service /lib/systemd/system/yunxin-archiver.timer"
  # shellcheck disable=SC2086
  said=$(on systemd-analyze verify --man=yes $units 2>&1) || fail "$said"
  case $said in *yunxin*) fail "$said" ;; esac
  on systemd-analyze security --offline=true --threshold=20 yunxin-archiver.service >"$copy/security" || fail "$(cat "$copy/security")"
  is timer disabled "$(on systemctl is-enabled yunxin-archiver.timer || true)"
  on systemctl --quiet enable yunxin-archiver.timer 2>/dev/null
  ok "deb: units ($(grep -o 'Overall exposure.*: [0-9.]*' "$copy/security" | grep -o '[0-9.]*$') of 10 exposed)"

  is "man page" /usr/share/man/man1/yunxin-archiver-run.1.gz "$(on man -w yunxin-archiver-run)"
  on bash -c '. /usr/share/bash-completion/completions/yunxin-archiver && complete -p yunxin-archiver' >/dev/null
  on runuser -u yunxin-archiver -- yunxin-archiver -c /etc/yunxin-archiver/jobs.yaml check >/dev/null 2>&1
  night "$machine" yunxin-archiver:yunxin-archiver /usr/bin/yunxin-archiver
  ok "deb: man pages, completion, the configuration that it brings, and a night as the service's user"

  # The next version, with another jobs.yaml, over an edited one.
  next=$copy/next
  dpkg-deb -R "$deb" "$next"
  sed -i 's/^Version: .*/Version: 999.0-1/' "$next/DEBIAN/control"
  echo "# a line of the next version" >>"$next/etc/yunxin-archiver/jobs.yaml"
  rm -f "$next/DEBIAN/md5sums"
  dpkg-deb --root-owner-group -Znone -b "$next" "$machine/tmp/next.deb" >/dev/null
  echo "# a line of the operator" >>"$machine/etc/yunxin-archiver/jobs.yaml"
  on chmod 600 /etc/yunxin-archiver/jobs.yaml
  on chown yunxin-archiver: /etc/yunxin-archiver/jobs.yaml
  on install -m 640 -g yunxin-archiver /dev/null /etc/yunxin-archiver/app_secret
  on dpkg --force-confdef --force-confold -i /tmp/next.deb >/dev/null 2>&1
  is "the last line of jobs.yaml" "# a line of the operator" "$(tail -n 1 "$machine/etc/yunxin-archiver/jobs.yaml")"
  is "jobs.yaml, of the operator's mode" "600 yunxin-archiver:yunxin-archiver" "$(modes /etc/yunxin-archiver/jobs.yaml)"
  is timer enabled "$(on systemctl is-enabled yunxin-archiver.timer)"
  ok "deb: an upgrade keeps the edited jobs.yaml, its mode and the enabled timer"

  echo kept >"$machine/var/lib/yunxin-archiver/ledger"
  said=$(on dpkg --purge yunxin-archiver 2>&1)
  has "$said" "/var/lib/yunxin-archiver is kept"
  has "$said" "/etc/yunxin-archiver is kept"
  is "the ledger" kept "$(cat "$machine/var/lib/yunxin-archiver/ledger")"
  [ ! -e "$machine/etc/yunxin-archiver/jobs.yaml" ] || fail "jobs.yaml is still there"
  [ -e "$machine/etc/yunxin-archiver/app_secret" ] || fail "the secret is gone"
  [ ! -e "$machine/usr/bin/yunxin-archiver" ] || fail "the binary is still there"
  ok "deb: a purge keeps archives and secrets, and says so"
  # Installed again and purged before anything was archived, it leaves nothing.
  rm -r "$machine"/etc/yunxin-archiver "$machine"/var/lib/yunxin-archiver
  on dpkg -i "/tmp/$(basename "$deb")" >/dev/null
  is jobs.yaml "640 root:yunxin-archiver" "$(modes /etc/yunxin-archiver/jobs.yaml)"
  on dpkg --purge yunxin-archiver >/dev/null
  [ ! -e "$machine/etc/yunxin-archiver" ] && [ ! -e "$machine/var/lib/yunxin-archiver" ] || fail "a purge leaves empty directories"
  ok "deb: installed again, and purged without a trace"
done

for rpm in "$out"/*.rpm; do
  [ -e "$rpm" ] && command -v rpm >/dev/null || break
  machine rpm
  # Debian's rpm knows nothing of Debian's packages, so dependencies are looked at and not resolved.
  needs=$(rpm -qp --requires "$rpm")
  has "$needs" ca-certificates
  has "$needs" libc.so.6
  on rpm -i --nodeps "/tmp/$(basename "$rpm")" 2>/dev/null
  is /etc/yunxin-archiver "750 root:yunxin-archiver" "$(modes /etc/yunxin-archiver)"
  is jobs.yaml "640 root:yunxin-archiver" "$(modes /etc/yunxin-archiver/jobs.yaml)"
  is /var/lib/yunxin-archiver "750 yunxin-archiver:yunxin-archiver" "$(modes /var/lib/yunxin-archiver)"
  is "rpm -V" "" "$(on rpm -V --nodeps yunxin-archiver 2>&1)"
  on systemd-analyze verify /usr/lib/systemd/system/yunxin-archiver.{service,timer}
  night "$machine" yunxin-archiver:yunxin-archiver /usr/bin/yunxin-archiver
  ok "rpm: user, directories, modes, units, and a night as the service's user"
  echo "# a line of the operator" >>"$machine/etc/yunxin-archiver/jobs.yaml"
  said=$(on rpm -e yunxin-archiver 2>&1)
  has "$said" "/var/lib/yunxin-archiver is kept"
  is "the last line of jobs.yaml.rpmsave" "# a line of the operator" "$(tail -n 1 "$machine/etc/yunxin-archiver/jobs.yaml.rpmsave")"
  [ -d "$machine/var/lib/yunxin-archiver/night" ] || fail "the archive is gone"
  ok "rpm: removal keeps archives and the edited jobs.yaml, and says so"
done

for image in "$out"/*.oci.tar; do
  [ -e "$image" ] && command -v skopeo >/dev/null || break
  is user 65532:65532 "$(skopeo inspect --config "oci-archive:$image" | jq -r .config.User)"
  skopeo --insecure-policy copy --quiet "oci-archive:$image" "dir:$copy/image" >/dev/null
  root=$copy/root
  mkdir "$root"
  tar -C "$root" -xzf "$copy/image/$(jq -r '.layers[0].digest' "$copy/image/manifest.json" | cut -d: -f2)"
  is "the service's directory" 750 "$(stat -c %a "$root/var/lib/yunxin-archiver")"
  is "files of others than root" ./var/lib/yunxin-archiver "$(cd "$root" && find . ! -user 0)"
  is "files that everybody writes" ./tmp "$(cd "$root" && find . -perm -002 ! -type l)"
  is "set-user-ID files" "" "$(cd "$root" && find . -perm /6000)"
  is "shells" "" "$(cd "$root" && find . -name '*sh')"
  # What a container runtime mounts: a read-only root with a volume, a file of hosts, /dev and /tmp.
  mkdir -p "$root/dev"
  echo "127.0.0.1 localhost" >"$root/etc/hosts"
  mount --bind "$root" "$root"
  mount -o remount,bind,ro "$root"
  mount -t tmpfs -o mode=750,uid=65532,gid=65532 tmpfs "$root/var/lib/yunxin-archiver"
  mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
  mount --rbind /dev "$root/dev"
  night "$root" 65532:65532 /usr/bin/yunxin-archiver
  ok "image: a night as a user without rights, on a read-only root, with names, time zones and certificates of its own"
done

for archive in "$out"/*.tar.gz; do
  [ -e "$archive" ] || break
  tar -C "$copy" -xzf "$archive"
  binary=$copy/$(basename "$archive" .tar.gz)/yunxin-archiver
  if readelf -l "$binary" | grep -q 'program interpreter'; then
    "$binary" --version >/dev/null
    ok "tar.gz"
    continue
  fi
  has "$(file "$binary")" "static"
  root=$copy/empty
  mkdir -p "$root"/{dev,etc/ssl/certs,tmp,var/lib/yunxin-archiver}
  cp "$binary" "$root/"
  cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
  echo "127.0.0.1 localhost" >"$root/etc/hosts"
  chmod 1777 "$root/tmp"
  chown 65532:65532 "$root/var/lib/yunxin-archiver"
  mount --rbind /dev "$root/dev"
  night "$root" 65532:65532 /yunxin-archiver
  ok "tar.gz: a static binary, and a night where there is nothing else"
done

(cd "$out" && sha256sum --quiet --check --strict SHA256SUMS)
ok "SHA256SUMS"
echo "packaging/check.sh: $checked passed"
