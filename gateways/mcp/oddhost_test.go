package mcp

import "testing"

func TestOddHost(t *testing.T) {
	t.Parallel()
	for uri, want := range map[string]bool{
		"demo://resource/1": false, "demo://resource:8/1": false, "demo:///1": false, "demo://": false, "demo:x/y": false, "x": false, "/a:b": false, "mailto:a@b": false,
		"https://example.com/@me": false, "https://example.com:8443/x": false, "http://127.0.0.1:3000/x": false, "https://[::1]/x": false, "file:///etc/x": false,
		"https://1.example.com/": false, "https://a-1/": false, "http://localhost?x": false,
		"demo://@resource/1": true, "demo://u:p@resource/1": true, "demo://resource:/1": true, "demo://resource:08/1": true, "demo://r%65source/1": true, "demo://r\u00e9source/1": true,
		"https:example.com": true, "https:/example.com": true, "HTTPS:example.com": true, "https:///example.com": true, "https://example.com:443/": true, "http://example.com:80": true,
		"http://127.1/": true, "http://0x7f.0.0.1/": true, "http://127.0.0.1./": true, "http://2130706433/": true, "http://[0:0::1]/": true, "http://[::1]:80/": true, "http://[::1]:81/": false,
		"file:/etc/x": true, "file://localhost/etc/x": true, "FILE:etc": true, "wss:x": true, "ftp://h:21/": true,
	} {
		if got := oddHost(uri); got != want {
			t.Errorf("%s: %v", uri, got)
		}
	}
}
