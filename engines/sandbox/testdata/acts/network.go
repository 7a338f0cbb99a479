package main

import (
	"errors"
	"net"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// connect opens a socket and connects it.
func connect(family, kind, protocol int, to unix.Sockaddr) error {
	fd, err := unix.Socket(family, kind|unix.SOCK_CLOEXEC, protocol)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Connect(fd, to)
}

// open only opens a socket: where nothing can be reached by it, that it can be had
// is what counts.
func open(family, kind, protocol int) error {
	fd, err := unix.Socket(family, kind|unix.SOCK_CLOEXEC, protocol)
	if errors.Is(err, unix.EPROTONOSUPPORT) || errors.Is(err, unix.ESOCKTNOSUPPORT) {
		return skip("this kernel has no such protocol")
	}
	if err == nil {
		_ = unix.Close(fd)
	}
	return err
}

func local(port int) *unix.SockaddrInet4 {
	return &unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}}
}

// network are acts that would reach something outside.
func network() map[string]func() error {
	return map[string]func() error{
		"tcp": func() error { return connect(unix.AF_INET, unix.SOCK_STREAM, 0, local(w.TCP)) },
		"tcp6": func() error {
			if w.TCP6 == 0 {
				return skip("there is no IPv6 here")
			}
			return connect(unix.AF_INET6, unix.SOCK_STREAM, 0, &unix.SockaddrInet6{Port: w.TCP6, Addr: [16]byte{15: 1}})
		},
		"tcp-fast-open": func() error {
			fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				return err
			}
			defer unix.Close(fd)
			return unix.Sendto(fd, []byte("x"), unix.MSG_FASTOPEN, local(w.TCP))
		},
		"mptcp": func() error {
			if w.MPTCP == 0 {
				return skip("there is no multipath TCP here")
			}
			return connect(unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_MPTCP, local(w.MPTCP))
		},
		"tcp-listen": func() error {
			fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				return err
			}
			defer unix.Close(fd)
			if err := unix.Bind(fd, local(0)); err != nil {
				return err
			}
			return unix.Listen(fd, 1)
		},
		"udp": func() error {
			fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				return err
			}
			defer unix.Close(fd)
			return unix.Sendto(fd, []byte("x"), 0, local(w.UDP))
		},
		"udp6": func() error { return open(unix.AF_INET6, unix.SOCK_DGRAM, 0) },
		"dns": func() error {
			c, err := net.DialTimeout("udp", net.JoinHostPort("127.0.0.1", strconv.Itoa(w.UDP)), time.Second)
			if err != nil {
				return err
			}
			defer c.Close()
			_, err = c.Write([]byte("\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x04evil\x04test\x00\x00\x01\x00\x01"))
			return err
		},
		"udplite":   func() error { return open(unix.AF_INET, unix.SOCK_DGRAM, unix.IPPROTO_UDPLITE) },
		"sctp":      func() error { return open(unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_SCTP) },
		"ping":      func() error { return open(unix.AF_INET, unix.SOCK_DGRAM, unix.IPPROTO_ICMP) },
		"raw":       func() error { return open(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP) },
		"packet":    func() error { return open(unix.AF_PACKET, unix.SOCK_RAW, 0) },
		"netlink":   func() error { return open(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_ROUTE) },
		"uevent":    func() error { return open(unix.AF_NETLINK, unix.SOCK_DGRAM, unix.NETLINK_KOBJECT_UEVENT) },
		"vsock":     func() error { return open(unix.AF_VSOCK, unix.SOCK_STREAM, 0) },
		"alg":       func() error { return open(unix.AF_ALG, unix.SOCK_SEQPACKET, 0) },
		"bluetooth": func() error { return open(unix.AF_BLUETOOTH, unix.SOCK_RAW, 0) },
		"xdp":       func() error { return open(unix.AF_XDP, unix.SOCK_RAW, 0) },
		"can":       func() error { return open(unix.AF_CAN, unix.SOCK_RAW, 1) },
		"tipc":      func() error { return open(unix.AF_TIPC, unix.SOCK_STREAM, 0) },
		"rds":       func() error { return open(unix.AF_RDS, unix.SOCK_SEQPACKET, 0) },
		"smc":       func() error { return open(unix.AF_SMC, unix.SOCK_STREAM, 0) },
		"kcm":       func() error { return open(unix.AF_KCM, unix.SOCK_DGRAM, 0) },
		"unix":      func() error { return connect(unix.AF_UNIX, unix.SOCK_STREAM, 0, &unix.SockaddrUnix{Name: w.Socket}) },
		"unix-datagram": func() error {
			return connect(unix.AF_UNIX, unix.SOCK_DGRAM, 0, &unix.SockaddrUnix{Name: w.Datagrams})
		},
		"unix-by-symlink": func() error {
			_ = unix.Symlink(w.Socket, out("s")) // a second try finds it there
			return connect(unix.AF_UNIX, unix.SOCK_STREAM, 0, &unix.SockaddrUnix{Name: out("s")})
		},
		"unix-abstract": func() error {
			return connect(unix.AF_UNIX, unix.SOCK_STREAM, 0, &unix.SockaddrUnix{Name: "@" + w.Abstract})
		},
		"unix-outside": func() error { // a socket that others could find later
			fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				return err
			}
			defer unix.Close(fd)
			return unix.Bind(fd, &unix.SockaddrUnix{Name: out("made")})
		},
		"socketpair-tipc": func() error {
			_, err := unix.Socketpair(unix.AF_TIPC, unix.SOCK_STREAM, 0)
			return err
		},
		// What every program may do.
		"socketpair": func() error {
			fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
			if err == nil {
				_, err = unix.Write(fds[0], []byte("x"))
			}
			return err
		},
	}
}
