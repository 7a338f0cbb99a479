package sandbox

// Found is what a probe found out.
type Found struct {
	Isolation Isolation `json:"isolation"` // of the best tier that can be had
	Sudo      bool      `json:"sudo"`      // that tier needs sudo
	Overlay   bool      `json:"overlay"`   // a workspace can be shown without a copy, with changes kept apart
	Acts      []Act     `json:"acts,omitempty"`
	// Refused says for each better tier why it cannot be had.
	Refused map[string]string `json:"refused,omitempty"`
}
