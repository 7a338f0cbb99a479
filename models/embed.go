package models

import _ "embed" // the models are files

// InstructionInjectionSHA256 is the digest of InstructionInjection. It is part of
// what a policy set's digest covers, so a new model is a change of governance.
const InstructionInjectionSHA256 = "f31dfeecd508d11eabd68d81161d0338457373977587dc01990dd421fb3cc908"

//go:embed instruction-injection.onnx
var instructionInjection string

// InstructionInjection gives a copy of the ONNX file of the model that scores
// text which gives orders to an AI agent or a reviewer: see
// instruction-injection.md.
func InstructionInjection() []byte { return []byte(instructionInjection) }
