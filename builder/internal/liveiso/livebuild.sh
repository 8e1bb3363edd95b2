# Makes a live ISO with live-build, Debian's own tool: livebuild.sh livebuild OUT.
out=$2
export LC_ALL=C.UTF-8 TZ=UTC

# The host's own mirrors, whatever they are called here.
mirror() {
  apt-get indextargets --format '$(SITE) $(RELEASE)' 'Created-By: Packages' 'Origin: Debian' | awk -v r="$1" '$2 == r {print $1; exit}'
}
main=$(mirror bookworm) security=$(mirror bookworm-security)
[ -n "$main" ] && [ -n "$security" ] || { echo "no index of Debian: run apt-get update" >&2; exit 1; }

lb config --mode debian --distribution bookworm --architectures amd64 --linux-flavours amd64 --archive-areas main \
  --parent-mirror-bootstrap "$main" --parent-mirror-chroot "$main" --parent-mirror-binary "$main" \
  --parent-mirror-chroot-security "$security" --parent-mirror-binary-security "$security" \
  --mirror-bootstrap "$main" --mirror-chroot "$main" --mirror-binary "$main" \
  --mirror-chroot-security "$security" --mirror-binary-security "$security" \
  --binary-images iso --bootloaders syslinux --debian-installer none --memtest none --apt-recommends false \
  --apt-indices false --apt-source-archives false --firmware-chroot false --firmware-binary false --checksums none \
  --zsync false --cache false --chroot-squashfs-compression-type zstd --updates false --backports false \
  --debootstrap-options "--variant=minbase" --apt-options "--yes -o Acquire::Check-Valid-Until=false" --color false
mkdir -p config/package-lists
echo "live-boot live-config live-config-systemd systemd-sysv udev zstd" >config/package-lists/live.list.chroot
lb build
mv ./*.iso "$out"
lb clean --purge
