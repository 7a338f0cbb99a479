//go:build wasip1

// Command guest is the module that the tests run: one program, many acts.
package main

import (
	"bufio"
	"io"
	"math/rand"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func main() {
	act, arg := os.Args[1], os.Args[2:]
	switch act {
	case "args":
		say(os.Args...)
	case "env":
		say(os.Environ()...)
	case "cat":
		_, err := io.Copy(os.Stdout, os.Stdin)
		try("copy", err)
	case "pwd":
		dir, err := os.Getwd()
		try(dir, err)
	case "clock":
		a := time.Now()
		time.Sleep(time.Hour)
		b := time.Now()
		say(a.UTC().Format(time.RFC3339), strconv.FormatBool(b.Sub(a) >= time.Hour && b.Sub(a) < time.Hour+time.Second))
	case "timers":
		t := time.NewTimer(time.Hour)
		tick := time.NewTicker(20 * time.Minute)
		n := 0
		for stop := false; !stop; {
			select {
			case <-tick.C:
				n++
			case <-t.C:
				stop = true
			}
		}
		say(strconv.FormatBool(n == 2 || n == 3))
	case "random":
		f := make([]byte, 8)
		for i := range f {
			f[i] = byte(rand.Int())
		}
		say(strconv.Quote(string(f)))
	case "exit":
		n, _ := strconv.Atoi(arg[0])
		syscall.ProcExit(int32(n))
	case "panic":
		panic("on purpose")
	case "nil":
		var p *int
		*p = 1
	case "alloc":
		var keep [][]byte
		for {
			b := make([]byte, 1<<20)
			for i := 0; i < len(b); i += 4096 {
				b[i] = 1
			}
			keep = append(keep, b)
			_ = keep
		}
	case "loop":
		for i := 0; ; i++ {
			sink = i
		}
	case "sleep":
		for {
			time.Sleep(time.Second)
		}
	case "out":
		line := []byte(strings.Repeat("y", 1<<16))
		f := os.Stdout
		if arg[0] == "stderr" {
			f = os.Stderr
		}
		for {
			f.Write(line)
		}
	case "ls":
		names, err := os.ReadDir(arg[0])
		var out []string
		for _, n := range names {
			out = append(out, n.Name())
		}
		try(strings.Join(out, " "), err)
	case "walk":
		err := filepath.WalkDir(arg[0], func(p string, d os.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := d.Info()
			if err != nil {
				return err
			}
			say(p + " " + d.Type().String() + " " + strconv.FormatInt(info.Size(), 10) + " " + info.ModTime().UTC().Format(time.DateOnly))
			return nil
		})
		try("walk", err)
	case "hash":
		n, _ := strconv.Atoi(arg[0])
		say(strconv.FormatUint(work(n), 16))
	case "fs":
		script()
	default:
		say("unknown act " + act)
		os.Exit(99)
	}
}

var sink int

// work is something to measure.
func work(n int) uint64 {
	buf := make([]byte, 1<<16)
	h := uint64(14695981039346656037)
	for range n {
		for i := range buf {
			h = (h ^ uint64(buf[i]+byte(i))) * 1099511628211
		}
	}
	return h
}

// script runs the file operations on stdin, one a line, and prints how each ended.
func script() {
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		switch f[0] {
		case "read":
			b, err := os.ReadFile(f[1])
			try(string(b), err)
		case "write":
			try("ok", os.WriteFile(f[1], []byte(f[2]), 0o666))
		case "append":
			g, err := os.OpenFile(f[1], os.O_APPEND|os.O_WRONLY|os.O_CREATE, 0o666)
			if err == nil {
				_, err = g.WriteString(f[2])
				g.Close()
			}
			try("ok", err)
		case "mkdir":
			try("ok", os.MkdirAll(f[1], 0o777))
		case "rmdir":
			try("ok", syscall.Rmdir(f[1]))
		case "unlink":
			try("ok", syscall.Unlink(f[1]))
		case "removeall":
			try("ok", os.RemoveAll(f[1]))
		case "rename":
			try("ok", os.Rename(f[1], f[2]))
		case "symlink":
			try("ok", os.Symlink(f[1], f[2]))
		case "link":
			try("ok", os.Link(f[1], f[2]))
		case "readlink":
			s, err := os.Readlink(f[1])
			try(s, err)
		case "stat":
			i, err := os.Stat(f[1])
			if err != nil {
				try("", err)
				break
			}
			try(i.Mode().Type().String()+" "+strconv.FormatInt(i.Size(), 10), nil)
		case "lstat":
			i, err := os.Lstat(f[1])
			if err != nil {
				try("", err)
				break
			}
			try(i.Mode().Type().String(), nil)
		case "truncate":
			n, _ := strconv.ParseInt(f[2], 10, 64)
			g, err := os.OpenFile(f[1], os.O_RDWR, 0)
			if err == nil {
				err = g.Truncate(n)
				g.Close()
			}
			try("ok", err)
		case "chtimes":
			try("ok", os.Chtimes(f[1], time.Unix(1000, 0), time.Unix(2000, 0)))
		case "sync":
			g, err := os.Open(f[1])
			if err == nil {
				err = g.Sync()
				g.Close()
			}
			try("ok", err)
		case "same":
			a, err := os.Stat(f[1])
			if err == nil {
				var b os.FileInfo
				if b, err = os.Stat(f[2]); err == nil {
					try(strconv.FormatBool(os.SameFile(a, b)), nil)
					break
				}
			}
			try("", err)
		case "ls":
			names, err := os.ReadDir(f[1])
			var out []string
			for _, n := range names {
				out = append(out, n.Name())
			}
			sorted := sort.StringsAreSorted(out)
			try(strings.Join(out, " ")+" "+strconv.FormatBool(sorted), err)
		case "manyopen":
			n := 0
			var err error
			for ; n < 5000; n++ {
				if _, err = os.Open(f[1]); err != nil {
					break
				}
			}
			try("", err)
		}
	}
}

func try(ok string, err error) {
	for e := err; e != nil; {
		if n, is := e.(syscall.Errno); is {
			say(n.Error())
			return
		}
		u, is := e.(interface{ Unwrap() error })
		if !is {
			break
		}
		e = u.Unwrap()
	}
	if err != nil {
		say("error: " + err.Error())
		return
	}
	say(ok)
}

func say(lines ...string) {
	for _, l := range lines {
		os.Stdout.WriteString(l + "\n")
	}
}
