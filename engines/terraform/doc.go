// Package terraform is the built-in engine that plans and applies changes with
// Terraform or OpenTofu. It speaks the contract of any engine, docs/protocol.md 2.
//
// In flight-plan it copies the workspace (what the step's inputs selected) to a
// private place, runs "init" and "plan" there, and writes three artifacts:
// "plan", evidence, the plan as "show -json" gives it, without sensitive values;
// "summary", evidence, what happens to which resource, and which programs terraform
// starts itself (provisioners, data sources of type external); and "tfplan", state, the
// saved plan itself, encrypted with age. In take-off it applies that saved plan
// and nothing else, in the workspace, after it made sure that lock file, modules
// and state are those that were planned for.
//
// It promises that
//   - flight-plan changes neither the workspace nor a state: it takes no lock
//     (-lock=false), since a lock is written to the backend; a plan made while
//     somebody else applies is found out in take-off by the state's serial;
//   - the evidence is a function of the saved plan (show -json) and of the names
//     of the variables that came from secrets, so that Derive can make it again;
//   - a value that terraform marks as sensitive is in no evidence: it is replaced
//     by "(sensitive value)", without a digest, since short values could be
//     guessed from one. Where such a value turns up again at a place that
//     terraform does not mark (the output of a terraform_data resource, a default
//     in the configuration), it is replaced there too, from 4 bytes on where it is
//     the whole value and from 8 bytes on inside a longer one. What has a fixed
//     meaning is never replaced: addresses, actions, types, names of attributes;
//   - what it does not know in a plan is left out and named in the summary, and a
//     plan of another major format version is refused.
//
// What it leaves to its user:
//   - A module that needs providers needs a committed .terraform.lock.hcl; without
//     one it is refused. For a module that needs none (only built-in resources)
//     terraform makes no lock file, and none is asked for.
//   - The local backend keeps terraform.tfstate in the workspace. Then that file
//     must be among the step's inputs, so not ignored; take-off writes it, and
//     terraform.tfstate.backup, in the workspace. A plan made without seeing the
//     state is refused in take-off as stale.
//   - path.cwd, abspath and plantimestamp make a plan depend on place and time.
//   - Files that flight-plan makes (archive_file, say) are gone in take-off.
//   - Modules from elsewhere are fetched anew in take-off and must be the same.
//     Their path.module lies in the temporary directory.
//   - Providers that read by other methods than GET (many clouds) cannot refresh
//     where flight-plan may only read; "refresh: false" plans without asking.
//   - Names of attributes, keys of maps and addresses are shown as they are.
//   - Saved plans of HCP Terraform (the cloud block) hold no plan and are refused,
//     as are plan files that OpenTofu encrypts itself.
//
// The configuration (engine.with):
//
//	binary           terraform (default), tofu, or an absolute path
//	dir              directory of the root module in the workspace, default "."
//	var              map of strings: input variables
//	var_files        list of files in the workspace with variables
//	targets          list of addresses to which the plan is limited
//	backend_config   map of strings for a partial backend configuration
//	env              names of the step's secrets that become environment variables
//	                 of terraform; those that begin with TF_VAR_ do so without it
//	encrypt_to       list of age recipients (age1…) that the saved plan is encrypted to
//	plaintext_state  true to keep the saved plan readable instead
//	identity         name of the secret with the age identity, default TF_AGE_IDENTITY
//	refresh          false to plan without asking providers, default true
//	destroy          true to plan the destruction of everything
//	parallelism      operations at once, default terraform's
//	lock_timeout     how long take-off waits for the state's lock, such as 30s
package terraform
