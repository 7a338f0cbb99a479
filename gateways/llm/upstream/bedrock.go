package upstream

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// bedrockVersion is the version of messages that bedrock takes.
// SPEC: Amazon Bedrock user guide, Anthropic Claude Messages API.
const bedrockVersion = "bedrock-2023-05-31"

// bedrockCall gives the path and the body of a call of bedrock. Messages go to InvokeModel,
// in the form that anthropic's own client gives them; what is OpenAI's goes to the
// endpoint that speaks it.
func (c *Client) bedrockCall(call *Call, tail string) (path string, body []byte, err error) {
	root := strings.TrimSuffix(strings.TrimSuffix(c.base.Path, "/v1"), "/openai")
	switch tail {
	case "/messages":
		if call.Model == "" || strings.ContainsAny(call.Model, " +%") || call.Model == "." || call.Model == ".." {
			return "", nil, errors.New("the call names no model of bedrock")
		}
		with := []member{{"anthropic_version", `"` + bedrockVersion + `"`}}
		if betas := betas(call.Header); len(betas) > 0 {
			text, err := json.Marshal(betas)
			if err != nil {
				return "", nil, err
			}
			with = append(with, member{"anthropic_beta", string(text)})
		}
		method := "/invoke"
		if call.Stream {
			method = "/invoke-with-response-stream"
		}
		body, err = reshape(call.Body, []string{"model", "stream"}, with...)
		return root + "/model/" + url.QueryEscape(call.Model) + method, body, err
	case "/chat/completions", "/responses":
		base := c.base.Path
		if !strings.HasSuffix(base, "/v1") {
			base = root + "/openai/v1"
		}
		return base + tail, call.Body, nil
	default:
		return "", nil, errors.New("bedrock has nothing at " + tail)
	}
}

// betas gives the client's anthropic-beta, which bedrock wants in the body.
func betas(h http.Header) []string {
	var out []string
	for _, values := range h["Anthropic-Beta"] {
		for beta := range strings.SplitSeq(values, ",") {
			if beta = strings.TrimSpace(beta); beta != "" {
				out = append(out, beta)
			}
		}
	}
	return out
}

// awsKey is the form in which AWS programs give credentials to each other.
// SPEC: AWS SDKs and Tools reference guide, process credential provider;
// `aws configure export-credentials --format process` writes it.
type awsKey struct {
	AccessKeyID     string `json:"AccessKeyId"`
	SecretAccessKey string
	SessionToken    string
	Expiration      *time.Time
}

// bedrockSigns makes a call bedrock's: by a signature, or with a key of bedrock's own.
func (x *exchange) bedrockSigns(r *http.Request, body []byte, key string) error {
	if !strings.HasPrefix(key, "{") {
		x.key = key
		r.Header["Authorization"] = []string{"Bearer " + key}
		return nil
	}
	var k awsKey
	if err := json.Unmarshal([]byte(key), &k); err != nil || k.AccessKeyID == "" || k.SecretAccessKey == "" {
		return errors.New("it is neither a key of bedrock nor the JSON of AWS credentials with AccessKeyId and SecretAccessKey")
	}
	if !plainValue(k.AccessKeyID) || !plainValue(k.SessionToken) {
		return errors.New("it is no text of a header field")
	}
	now := x.c.now()
	if k.Expiration != nil && !now.Before(*k.Expiration) {
		return errors.New("it has expired")
	}
	x.key = k.SessionToken
	sum := sha256.Sum256(body)
	credentials := aws.Credentials{AccessKeyID: k.AccessKeyID, SecretAccessKey: k.SecretAccessKey, SessionToken: k.SessionToken}
	if err := x.c.signer.SignHTTP(x.ctx, credentials, r, hex.EncodeToString(sum[:]), "bedrock", x.c.opt.Region, now); err != nil {
		return errors.New("no signature can be made with it")
	}
	return nil
}

// bedrockBase is where bedrock is in a region.
func bedrockBase(region string) string {
	if strings.HasPrefix(region, "cn-") {
		return "https://bedrock-runtime." + region + ".amazonaws.com.cn"
	}
	return "https://bedrock-runtime." + region + ".amazonaws.com"
}
