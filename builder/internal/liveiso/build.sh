# Makes a live ISO: build.sh live OUT, or build.sh large OUT FROM.
what=$1 out=$2 from=$3
export LC_ALL=C.UTF-8 TZ=UTC

if [ "$what" = large ]; then
  # What weighs more lies first. The filler takes two extents: ISO 9660 has 32 bits for
  # the size of one.
  xorriso -indev "$from" -osirrox on -extract / tree >/dev/null 2>&1
  mkdir tree/filler
  truncate -s 4608M tree/filler/filler.bin
  xorriso -as mkisofs -quiet -R -J -iso-level 3 -V LIVE_LARGE --sort-weight 1000 /filler -o "$out" tree
  exit 0
fi

# The host's own sources of Debian, whatever they are called here.
apt-get indextargets --format 'deb $(SITE) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' 'Origin: Debian' | sort -u >sources.list
[ -s sources.list ] || { echo "no index of Debian: run apt-get update" >&2; exit 1; }

mmdebstrap --quiet --mode=root --variant=minbase --skip=cleanup/reproducible \
  --aptopt='Acquire::Check-Valid-Until "false"' \
  --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
  --dpkgopt='path-exclude=/usr/share/locale/*' \
  --include=linux-image-amd64,live-boot,live-config,live-config-systemd,systemd-sysv,udev,zstd,iproute2,ifupdown \
  --customize-hook='echo root:live | chroot "$1" chpasswd' \
  --customize-hook='echo liveiso >"$1/etc/hostname"' \
  --customize-hook='rm -rf "$1"/var/lib/apt/lists/* "$1"/var/cache/apt/*' \
  bookworm root sources.list

mkdir -p tree/live tree/boot/grub tree/isolinux tree/.disk
cp root/boot/vmlinuz-* tree/live/vmlinuz
cp root/boot/initrd.img-* tree/live/initrd.img
mksquashfs root tree/live/filesystem.squashfs -quiet -no-progress -comp zstd -Xcompression-level 3 -e boot
echo 'Debian GNU/Linux 12 "Bookworm" - a live ISO of packages' >tree/.disk/info

# As live-build writes them (share/bootloaders of live-build 20230502).
cat >tree/boot/grub/config.cfg <<'CFG'
set default=0
if [ x$feature_default_font_path = xy ] ; then
   font=unicode
else
   font=$prefix/unicode.pf2
fi
if loadfont $font ; then
  set gfxmode=800x600
  insmod gfxterm
fi
CFG
cat >tree/boot/grub/grub.cfg <<'CFG'
source /boot/grub/config.cfg

# Live boot
menuentry "Live system (amd64)" --hotkey=l {
	linux	/live/vmlinuz boot=live components quiet splash findiso=${iso_path}
	initrd	/live/initrd.img
}
menuentry "Live system (amd64 fail-safe mode)" {
	linux	/live/vmlinuz boot=live components memtest noapic noapm nodma nomce nosmp nosplash vga=788
	initrd	/live/initrd.img
}

submenu 'Utilities...' --hotkey=u {
	source /boot/grub/theme.cfg
	menuentry "UEFI Firmware Settings" {
		fwsetup
	}
}
CFG
cat >tree/boot/grub/loopback.cfg <<'CFG'
source /boot/grub/grub.cfg
CFG
cat >tree/isolinux/isolinux.cfg <<'CFG'
include menu.cfg
default vesamenu.c32
prompt 0
timeout 0
CFG
cat >tree/isolinux/menu.cfg <<'CFG'
menu hshift 0
menu title Boot menu
include live.cfg
CFG
cat >tree/isolinux/live.cfg <<'CFG'
label live-amd64
	menu label ^Live system (amd64)
	menu default
	linux /live/vmlinuz
	initrd /live/initrd.img
	append boot=live components quiet splash

label live-amd64-failsafe
	menu label Live system (amd64 fail-safe mode)
	linux /live/vmlinuz
	initrd /live/initrd.img
	append boot=live components memtest noapic noapm nodma nomce nosmp nosplash vga=788
CFG
xorriso -as mkisofs -quiet -R -J -iso-level 3 -V LIVE -o "$out" tree
