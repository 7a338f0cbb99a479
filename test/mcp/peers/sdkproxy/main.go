// Command sdkproxy is a proxy for tool calls with the Go SDK on both sides: what most
// gateways are. The benchmarks of ours compare with it. It judges nothing; it only
// appends a hash-chained line to a file for each call, as the raw proxy does.
package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"sync"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

func main() {
	server := flag.String("server", "", "URL of the server behind the proxy")
	trail := flag.String("trail", "", "file for the chained lines")
	flag.Parse()
	if err := run(*server, *trail); err != nil {
		log.Fatal(err)
	}
}

func run(server, trail string) error {
	file, err := os.OpenFile(trail, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	p := &proxy{server: server, chain: &chain{file: file}, client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 256}}}
	known := mcp.NewServer(&mcp.Implementation{Name: "sdkproxy", Version: "1"}, nil)
	handler := mcp.NewStreamableHTTPHandler(func(r *http.Request) *mcp.Server {
		// The SDK asks at every request, and twice at one that begins a session.
		made, ok := r.Context().Value(begun{}).(*mcp.Server)
		if !ok {
			return known
		}
		return made
	}, &mcp.StreamableHTTPOptions{JSONResponse: true})
	begin := func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Mcp-Session-Id") == "" {
			s, err := p.session(context.WithoutCancel(r.Context()))
			if err != nil {
				http.Error(w, err.Error(), http.StatusBadGateway)
				return
			}
			r = r.WithContext(context.WithValue(r.Context(), begun{}, s))
		}
		handler.ServeHTTP(w, r)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Printf("http://%s/mcp\n", l.Addr())
	return http.Serve(l, http.HandlerFunc(begin))
}

// begun is the key of the server that was made for a new session.
type begun struct{}

type proxy struct {
	server string
	chain  *chain
	client *http.Client
}

// session gives what one client speaks to: a server with the tools of the one behind.
func (p *proxy) session(ctx context.Context) (*mcp.Server, error) {
	client := mcp.NewClient(&mcp.Implementation{Name: "sdkproxy", Version: "1"}, nil)
	behind, err := client.Connect(ctx, &mcp.StreamableClientTransport{Endpoint: p.server, HTTPClient: p.client, DisableStandaloneSSE: true}, nil)
	if err != nil {
		return nil, err
	}
	s := mcp.NewServer(&mcp.Implementation{Name: "sdkproxy", Version: "1"}, nil)
	for tool, err := range behind.Tools(ctx, nil) {
		if err != nil {
			return nil, err
		}
		s.AddTool(tool, func(ctx context.Context, r *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
			if err := p.chain.add("request", r.Params); err != nil {
				return nil, err
			}
			result, err := behind.CallTool(ctx, &mcp.CallToolParams{Name: r.Params.Name, Arguments: r.Params.Arguments})
			if err != nil {
				return nil, err
			}
			return result, p.chain.add("response", result)
		})
	}
	return s, nil
}

// chain is a file of lines, each of which has the hash of the one before it.
type chain struct {
	mu   sync.Mutex
	file *os.File
	last [sha256.Size]byte
}

func (c *chain) add(what string, content any) error {
	data, err := json.Marshal(content)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(data)
	c.mu.Lock()
	defer c.mu.Unlock()
	line := fmt.Appendf(nil, `{"chain":%q,"digest":%q,"what":%q}`+"\n", hex.EncodeToString(c.last[:]), hex.EncodeToString(sum[:]), what)
	c.last = sha256.Sum256(line)
	_, err = c.file.Write(line)
	return err
}
