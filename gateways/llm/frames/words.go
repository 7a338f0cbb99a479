package frames

import "strings"

// words are the names and values that the formats themselves use: nothing can be said
// with them. What is none of them is reported as a piece of the kind Other.
var words = func() map[string]string {
	all := map[string]string{}
	for w := range strings.FieldsSeq(`
		id object created model choices index delta content role finish_reason logprobs usage
		system_fingerprint service_tier obfuscation refusal tool_calls function function_call name
		arguments type error code message param audio transcript data expires_at moderation
		reasoning reasoning_content reasoning_details prompt_tokens completion_tokens total_tokens
		prompt_tokens_details completion_tokens_details cached_tokens audio_tokens reasoning_tokens
		accepted_prediction_tokens rejected_prediction_tokens token bytes logprob top_logprobs
		prompt_filter_results content_filter_results filtered severity hate self_harm sexual violence
		jailbreak detected safe low medium high text event
		assistant user system developer tool stop length content_filter chat.completion.chunk
		auto default flex scale priority standard batch none required
		item_id output_index content_index summary_index sequence_number command_index annotation_index
		item part response output status created_at completed_at incomplete_details instructions
		max_output_tokens max_tool_calls parallel_tool_calls previous_response_id effort summary store
		temperature format verbosity tool_choice tools top_p truncation metadata background
		prompt_cache_key safety_identifier input_tokens output_tokens input_tokens_details
		output_tokens_details frequency_penalty presence_penalty call_id annotations annotation command
		input reason prompt conversation billing payer phase logprobs
		in_progress completed failed incomplete queued cancelled searching interpreting
		max_tokens json_object json_schema text_format disabled server_error rate_limit_exceeded
		output_text reasoning_text summary_text custom_tool_call mcp_call
		error response.created response.in_progress response.queued response.completed response.failed
		response.incomplete response.output_item.added response.output_item.done
		response.content_part.added response.content_part.done response.output_text.delta
		response.output_text.done response.refusal.delta response.refusal.done
		response.function_call_arguments.delta response.function_call_arguments.done
		response.mcp_call_arguments.delta response.mcp_call_arguments.done
		response.custom_tool_call_input.delta response.custom_tool_call_input.done
		response.code_interpreter_call_code.delta response.code_interpreter_call_code.done
		response.shell_call_command.added response.shell_call_command.delta response.shell_call_command.done
		response.reasoning_text.delta response.reasoning_text.done
		response.reasoning_summary_text.delta response.reasoning_summary_text.done
		response.reasoning_summary_part.added response.reasoning_summary_part.done
		response.output_text.annotation.added
		message_start message_delta message_stop content_block_start content_block_delta
		content_block_stop ping content_block text_delta input_json_delta thinking_delta
		signature_delta citations_delta citations citation thinking signature partial_json
		stop_reason stop_sequence stop_details container cache_creation_input_tokens
		cache_read_input_tokens cache_creation ephemeral_5m_input_tokens ephemeral_1h_input_tokens
		inference_geo server_tool_use web_search_requests web_fetch_requests tool_use end_turn pause_turn
		redacted_thinking encrypted_content result partial_image_b64 partial_image_index b64_json context_management applied_edits request_id
		overloaded_error api_error invalid_request_error permission_error rate_limit_error
	`) {
		all[w] = w
	}
	return all
}()

const longestWord = 64

// word gives one of the words without memory of its own; "" for anything else.
func word(b []byte) string {
	if len(b) > longestWord {
		return ""
	}
	return words[string(b)]
}
