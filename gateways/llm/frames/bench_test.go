package frames_test

import (
	"strings"
	"testing"

	"github.com/cabincrew/action/gateways/llm/frames"
)

func bench(b *testing.B, format frames.Format, text string) {
	b.Helper()
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	pieces := 0
	for b.Loop() {
		r, d := frames.NewReader(0), frames.NewDecoder(format)
		for from := 0; from < len(text); from += 4096 {
			r.Feed([]byte(text[from:min(len(text), from+4096)]))
			for {
				ev, err := r.Next()
				if err != nil {
					b.Fatal(err)
				}
				if ev == nil {
					break
				}
				pieces += len(d.Decode(ev).Pieces)
			}
		}
		if d.Ended() != frames.Done || pieces == 0 {
			b.Fatal("cut off")
		}
	}
}

func chat52() string {
	return chatEvent(`{"role":"assistant","content":""}`, "null") + strings.Repeat(chatEvent(`{"content":" some words"}`, "null"), 49) +
		chatEvent(`{}`, `"stop"`) + "data: [DONE]\n\n"
}

func BenchmarkChat52(b *testing.B)    { bench(b, frames.Chat, chat52()) }
func BenchmarkResponses(b *testing.B) { bench(b, frames.Responses, responsesStream()) }
func BenchmarkMessages(b *testing.B)  { bench(b, frames.Messages, messagesStream()) }
