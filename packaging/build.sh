#!/usr/bin/env bash
# Builds packages from a binary that was built before.
#
#   packaging/build.sh BINARY [OUT]      OUT is target/packages by default
#
# TARGET     the Rust target that file names say; the compiler's own by default
# DOCS_URL   where docs/ of this version is on the web, for the links from alerts to the runbook
# FAST=1     compresses little, for tests
#
# Always: a tar.gz of everything. From a binary that is linked dynamically also a deb (cargo-deb), an rpm
# (cargo-generate-rpm), a container image (an OCI archive; tar and jq) and a list of all crates (cargo-cyclonedx), each
# if the tool is there. SHA256SUMS lists them all. The binary must run on this machine, as it writes its own man pages.
set -euo pipefail
binary=$(realpath "$1")
cd "$(dirname "$0")/.."
out=$(realpath -m "${2:-target/packages}")
PATH=$PWD/target/tools/bin:$PATH

version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
target=${TARGET:-$(rustc -vV | sed -n 's/^host: //p')}
name=yunxin-archiver-$version-$target
# The same binary gives the same files, byte for byte.
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || date +%s)}
export SOURCE_DATE_EPOCH
level=9
[ -z "${FAST:-}" ] || level=1

found() { command -v "$1" >/dev/null 2>&1 || { echo "packaging/build.sh: no $2, as $1 is not installed"; return 1; }; }
# tar_of DIRECTORY NAME...: a tar without owners, times and order of this machine
tar_of() { tar -C "$1" --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$SOURCE_DATE_EPOCH" -cf - "${@:2}"; }

# What every package consists of. Cargo.toml says where deb and rpm put it.
stage=target/package
rm -rf "$stage" "$out"
mkdir -p "$stage"/{man,completions} "$out"
install -m 755 "$binary" "$stage/yunxin-archiver"
[ -z "$(command -v strip)" ] || strip "$stage/yunxin-archiver"
"$binary" -q man "$stage/man"
gzip -n9 "$stage"/man/*.1
for shell in bash zsh fish; do
  "$binary" completions "$shell" >"$stage/completions/yunxin-archiver.$shell"
done
cp -r deploy docs packaging/systemd README.md README.zh-CN.md CHANGELOG.md LICENSE LICENSE-MIT LICENSE-APACHE jobs.example.yaml "$stage/"
cp packaging/jobs.yaml "$stage/jobs.yaml"
rm -rf "$stage/docs/images"
[ -z "${DOCS_URL:-}" ] || sed -i "s|runbook_url: docs/|runbook_url: ${DOCS_URL%/}/|" "$stage"/deploy/prometheus/alerts*.yaml
chmod -R u=rwX,go=rX "$stage"

mkdir "$out/$name"
cp -r "$stage"/. "$out/$name/"
tar_of "$out" "$name" | gzip -n"$level" >"$out/$name.tar.gz"
rm -r "${out:?}/$name"

# A static binary has no loader.
loader=$(readelf -l "$binary" | sed -n 's/.*program interpreter: \(.*\)\]/\1/p')
if [ -n "$loader" ]; then
  if found cargo-deb deb; then
    cargo deb --no-build --no-strip ${FAST:+--fast} --quiet --output "$out/" >/dev/null
  fi
  if found cargo-generate-rpm rpm; then
    cargo generate-rpm --payload-compress "$([ -n "${FAST:-}" ] && echo none || echo zstd)" --output "$out/" >/dev/null
  fi
  if found jq "container image"; then
    case $target in
      x86_64-*) architecture=amd64 ;;
      aarch64-*) architecture=arm64 ;;
      *) architecture=${target%%-*} ;;
    esac
    root=$out/root
    mkdir -p "$root"/{etc/ssl/certs,etc/yunxin-archiver,usr/bin,usr/share/doc,tmp,var/lib/yunxin-archiver}
    install -m 755 "$stage/yunxin-archiver" "$root/usr/bin/"
    # The loader and the libraries that the binary names, where it looks for them.
    { echo "$loader"; ldd "$binary" | sed -n 's/.*=> \(\/[^ ]*\).*/\1/p'; } | while read -r library; do
      install -D -m 755 "$library" "$root$library"
    done
    install -m 644 /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
    cp -r "$stage"/{LICENSE,LICENSE-MIT,LICENSE-APACHE} "$root/usr/share/doc/"
    echo 'yunxin-archiver:x:65532:65532::/var/lib/yunxin-archiver:/sbin/nologin' >"$root/etc/passwd"
    echo 'yunxin-archiver:x:65532:' >"$root/etc/group"
    echo 'hosts: files dns' >"$root/etc/nsswitch.conf"
    chmod -R u=rwX,go=rX "$root"
    chmod 1777 "$root/tmp"

    layout=$out/layout
    mkdir -p "$layout/blobs/sha256"
    # add: stores what it reads as a blob, and prints its descriptor for the media type
    add() {
      local file=$layout/blobs/incoming digest
      cat >"$file"
      digest=$(sha256sum "$file" | cut -d' ' -f1)
      jq -cn --arg type "$1" --arg digest "sha256:$digest" --argjson size "$(stat -c %s "$file")" \
        '{mediaType: $type, digest: $digest, size: $size}'
      mv "$file" "$layout/blobs/sha256/$digest"
    }
    # The service's directory belongs to its user; everything else to root.
    tar_of "$root" --exclude=./var/lib/yunxin-archiver . >"$out/layer.tar"
    tar -C "$root" --owner=65532 --group=65532 --numeric-owner --mtime="@$SOURCE_DATE_EPOCH" --mode=750 \
      -rf "$out/layer.tar" ./var/lib/yunxin-archiver
    diff_id=sha256:$(sha256sum "$out/layer.tar" | cut -d' ' -f1)
    layer=$(gzip -n"$level" <"$out/layer.tar" | add application/vnd.oci.image.layer.v1.tar+gzip)
    created=$(date -u -d "@$SOURCE_DATE_EPOCH" +%Y-%m-%dT%H:%M:%SZ)
    config=$(jq -cn --arg architecture "$architecture" --arg created "$created" --arg diff "$diff_id" --arg version "$version" '{
      created: $created, architecture: $architecture, os: "linux",
      config: {
        User: "65532:65532", WorkingDir: "/var/lib/yunxin-archiver", StopSignal: "SIGTERM",
        Env: ["PATH=/usr/bin", "SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt", "TMPDIR=/tmp"],
        Entrypoint: ["/usr/bin/yunxin-archiver", "-c", "/etc/yunxin-archiver/jobs.yaml"], Cmd: ["run"],
        Volumes: {"/var/lib/yunxin-archiver": {}},
        Labels: {
          "org.opencontainers.image.title": "yunxin-archiver", "org.opencontainers.image.version": $version,
          "org.opencontainers.image.licenses": "MIT OR Apache-2.0"
        }
      },
      rootfs: {type: "layers", diff_ids: [$diff]}, history: [{created: $created, created_by: "packaging/build.sh"}]
    }' | add application/vnd.oci.image.config.v1+json)
    manifest=$(jq -cn --argjson config "$config" --argjson layer "$layer" '{
      schemaVersion: 2, mediaType: "application/vnd.oci.image.manifest.v1+json", config: $config, layers: [$layer]
    }' | add application/vnd.oci.image.manifest.v1+json)
    jq -cn --argjson manifest "$manifest" --arg version "$version" --arg architecture "$architecture" '{
      schemaVersion: 2, mediaType: "application/vnd.oci.image.index.v1+json",
      manifests: [$manifest + {
        platform: {os: "linux", architecture: $architecture}, annotations: {"org.opencontainers.image.ref.name": $version}
      }]
    }' >"$layout/index.json"
    echo '{"imageLayoutVersion":"1.0.0"}' >"$layout/oci-layout"
    tar_of "$layout" oci-layout index.json blobs >"$out/$name.oci.tar"
    rm -r "$root" "$layout" "$out/layer.tar"
  fi
  if found cargo-cyclonedx "list of crates"; then
    cargo cyclonedx --quiet --format json --target "$target" --override-filename sbom
    mv sbom.json "$out/$name.cdx.json"
  fi
fi
(cd "$out" && sha256sum -- * >SHA256SUMS)
(cd "$out" && ls -l)
