package secrets

import (
	"context"
	"encoding/base64"
	"strings"

	"github.com/cabincrew/action/protocol"
)

// canary proves on the way that artifacts take that a secret is found, plain and
// encoded, each mapped value too, and that harmless text is not one. The secret
// is put together here, so that no scanner finds it in the source.
func (ev *Evaluator) canary() error {
	secret := "AK" + "IA" + strings.Join([]string{"Q3EG", "RTSB", "PZ5F", "7WNC"}, "")
	encoded := base64.StdEncoding.EncodeToString([]byte("id = " + secret + "\n"))
	texts := map[string]string{
		"key_id: " + secret + "\n":          "aws-access-token",
		"data: " + encoded + "\n":           "aws-access-token",
		"the cabin crew serves no coffee\n": "",
	}
	for text, want := range texts {
		if err := ev.sings(text, want); err != nil {
			return err
		}
	}
	for _, value := range ev.o.Values {
		if err := ev.sings("a "+value+" b\n", RuleValue); err != nil {
			return err
		}
	}
	return nil
}

func (ev *Evaluator) sings(text, want string) error {
	c, err := ev.search(context.Background(), func(ctx context.Context, c *scan) error {
		c.baseline = nil
		return c.reader(ctx, source{file: "canary", part: PartBody}, strings.NewReader(text))
	})
	if err != nil {
		return canaryError(ev.unjudged(err).Message)
	}
	found := false
	for _, m := range c.matches {
		found = found || m.Rule == want
	}
	if found != (want != "") || want == "" && len(c.matches) > 0 {
		return canaryError("it did not find what it must")
	}
	return nil
}

func canaryError(why string) error {
	return protocol.Errorf(protocol.ExitDenied, "secrets_canary", "the built-in canary of the secret search failed: %s; nothing was judged", why).
		WithHint("this is a fault of the program or of the machine, not of your policies; please report it")
}
