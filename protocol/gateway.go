package protocol

// MCPGatewayRequest describes one MCP message to a judge.
type MCPGatewayRequest struct {
	RequestID string         `json:"request_id"`
	Timestamp string         `json:"timestamp"`
	Source    string         `json:"source,omitempty"`
	ServerID  string         `json:"server_id"`
	Method    string         `json:"method"`
	Params    map[string]any `json:"params,omitempty"`
	Context   map[string]any `json:"context,omitempty"`
}

// MCPGatewayResponse is the decision on one MCP message.
type MCPGatewayResponse struct {
	RequestID        string           `json:"request_id"`
	Timestamp        string           `json:"timestamp"`
	Decision         Decision         `json:"decision"`
	Warnings         []string         `json:"warnings,omitempty"`
	Violations       []string         `json:"violations,omitempty"`
	Approval         *GatewayApproval `json:"approval,omitempty"`
	RewrittenRequest map[string]any   `json:"rewritten_request,omitempty"`
}

// MCPGatewayRule is one rule of the MCP gateway.
type MCPGatewayRule struct {
	Match    map[string]any `json:"match"`
	Action   string         `json:"action"`
	Metadata map[string]any `json:"metadata,omitempty"`
}

// MCPGatewayPolicyConfig names the judges of the MCP gateway.
type MCPGatewayPolicyConfig struct {
	OPAPolicies []string         `json:"opa_policies,omitempty"`
	ONNXModels  []string         `json:"onnx_models,omitempty"`
	Rules       []MCPGatewayRule `json:"rules,omitempty"`
}

// LLMGatewayRequest describes one model call to a judge.
type LLMGatewayRequest struct {
	RequestID string         `json:"request_id"`
	Timestamp string         `json:"timestamp"`
	Source    string         `json:"source,omitempty"`
	Model     string         `json:"model"`
	Provider  string         `json:"provider,omitempty"`
	Input     map[string]any `json:"input"`
	Context   map[string]any `json:"context,omitempty"`
}

// LLMGatewayResponse is the decision on one model call.
type LLMGatewayResponse struct {
	RequestID      string           `json:"request_id"`
	Timestamp      string           `json:"timestamp"`
	Decision       Decision         `json:"decision"`
	Warnings       []string         `json:"warnings,omitempty"`
	Violations     []string         `json:"violations,omitempty"`
	Approval       *GatewayApproval `json:"approval,omitempty"`
	RoutedModel    string           `json:"routed_model,omitempty"`
	RewrittenInput map[string]any   `json:"rewritten_input,omitempty"`
	GatewayPayload map[string]any   `json:"gateway_payload,omitempty"`
}

// LLMGatewayRule is one rule of the LLM gateway.
type LLMGatewayRule struct {
	Match    map[string]any `json:"match"`
	Action   string         `json:"action"`
	Metadata map[string]any `json:"metadata,omitempty"`
}

// LLMGatewayPolicyConfig names the judges and the routing of the LLM gateway.
type LLMGatewayPolicyConfig struct {
	OPAPolicies  []string         `json:"opa_policies,omitempty"`
	ONNXModels   []string         `json:"onnx_models,omitempty"`
	ModelRouting map[string]any   `json:"model_routing,omitempty"`
	Rules        []LLMGatewayRule `json:"rules,omitempty"`
}

// GatewayApproval says which approval a held call waits for.
type GatewayApproval struct {
	ApprovalID   string `json:"approval_id,omitempty"`
	RequiredRole string `json:"required_role,omitempty"`
	Reason       string `json:"reason,omitempty"`
}
