// Package llm lets the official clients of models' APIs judge the LLM gateway: they must
// work through it as they do without it. The tests need the packages that
// scripts/mcp-judges.sh installs; make e2e runs them.
package llm
