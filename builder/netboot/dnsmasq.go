package netboot

// DnsmasqExample returns an example of a dnsmasq configuration that serves a
// netboot tree; whoever uses it edits interface, range and folder.
func DnsmasqExample() string { return dnsmasqExample }

// The DHCP options are those of RFC 4578 (client-arch: 7 and 9 are UEFI on
// x86-64, 16 is UEFI with HTTP) and of iPXE, which announces itself by option
// 175.
const dnsmasqExample = `# Written by farboot: an example of how to start machines from this folder.
# Change the lines marked with <--, then, as root:
#
#     dnsmasq --no-daemon --conf-file=` + Dnsmasq + `

# No DNS.
port=0

# The network card towards the machines.                                    <--
interface=eth0
bind-interfaces

# Either: this server hands out addresses.                                  <--
dhcp-range=192.0.2.100,192.0.2.199,1h
# Or: another DHCP server does, and this one only answers what to boot. Then
# remove the lines with dhcp-range above and dhcp-boot below, and take these.
#dhcp-range=192.0.2.0,proxy
#pxe-service=tag:ipxe,X86PC,"farboot",` + Script + `
#pxe-service=tag:ipxe,X86-64_EFI,"farboot",` + Script + `
#pxe-service=tag:!ipxe,X86PC,"farboot",undionly.kpxe
#pxe-service=tag:!ipxe,X86-64_EFI,"farboot",` + Shim + `

# The folder that this file came in; it has to be the TFTP server's root.   <--
enable-tftp
tftp-root=/srv/farboot

# What asks: iPXE, UEFI, or else a BIOS.
dhcp-match=set:ipxe,175
dhcp-match=set:efi,option:client-arch,7
dhcp-match=set:efi,option:client-arch,9

# UEFI, Secure Boot included: shim and Debian's signed GRUB.
dhcp-boot=tag:efi,tag:!ipxe,` + Shim + `

# BIOS: iPXE first. It is not in this folder: copy /usr/lib/ipxe/undionly.kpxe
# of Debian's package "ipxe" here.
dhcp-boot=tag:!efi,tag:!ipxe,undionly.kpxe

# iPXE, chained or burned into the network card: the script. All that it loads
# comes from where it came from, so an HTTP server for this folder makes large
# files fast; the second line is for that.
dhcp-boot=tag:ipxe,` + Script + `
#dhcp-boot=tag:ipxe,http://192.0.2.1/` + Script + `
`
