package terraform

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestPrograms: what runs programs is in the summary, wherever it is declared.
func TestPrograms(t *testing.T) {
	t.Parallel()
	plan := `{"format_version":"1.2",
		"configuration":{"root_module":{
			"resources":[
				{"address":"db.plain","mode":"managed","type":"db","name":"plain"},
				{"address":"db.made","mode":"managed","type":"db","name":"made","provisioners":[{"type":"local-exec","expressions":{"command":{"constant_value":"curl evil"}}},{"type":"file"}]},
				{"address":"db.stays","mode":"managed","type":"db","name":"stays","provisioners":[{"type":"local-exec"}]},
				{"address":"data.external.look","mode":"data","type":"external","name":"look"},
				{"address":"external.no","mode":"managed","type":"external","name":"no"}],
			"module_calls":{"a":{"module":{"module_calls":{"b":{"module":{"resources":[
				{"address":"db.deep","mode":"managed","type":"db","name":"deep","provisioners":[{"type":"remote-exec"}]},
				{"address":"db.later","mode":"managed","type":"db","name":"later","provisioners":[{"type":"local-exec"}]},
				{"address":"db.forgotten","mode":"managed","type":"db","name":"forgotten","provisioners":[{"type":"local-exec"}]}]}}}}}}}},
		"resource_changes":[
			{"address":"db.made[0]","mode":"managed","type":"db","name":"made","change":{"actions":["create"],"before":null,"after":null}},
			{"address":"db.stays","mode":"managed","type":"db","name":"stays","change":{"actions":["update"],"before":null,"after":null}},
			{"address":"module.a[\"x]\\\".y\"].module.b[3].db.deep","module_address":"module.a[\"x]\\\".y\"].module.b[3]","mode":"managed","type":"db","name":"deep","change":{"actions":["delete","create"],"before":null,"after":null}},
			{"address":"module.a.module.b.db.forgotten","module_address":"module.a.module.b","mode":"managed","type":"db","name":"forgotten","change":{"actions":["forget"],"before":null,"after":null}}],
		"deferred_changes":[{"reason":"x","resource_change":{"address":"module.a.module.b.db.later","module_address":"module.a.module.b","mode":"managed","type":"db","name":"later","change":{"actions":["create"],"before":null,"after":null}}}]}`
	root, left := cleaned(t, []byte(plan))
	got := summarise(root, left)
	want := `[{"address":"data.external.look","kind":"data source","planned":true,"runs":"flight-plan and take-off","type":"external"},` +
		`{"address":"db.made","kind":"provisioner","planned":true,"runs":"take-off","type":"file"},` +
		`{"address":"db.made","kind":"provisioner","planned":true,"runs":"take-off","type":"local-exec"},` +
		`{"address":"db.stays","kind":"provisioner","planned":false,"runs":"take-off","type":"local-exec"},` +
		`{"address":"module.a.module.b.db.deep","kind":"provisioner","planned":true,"runs":"take-off","type":"remote-exec"},` +
		`{"address":"module.a.module.b.db.forgotten","kind":"provisioner","planned":false,"runs":"take-off","type":"local-exec"},` +
		`{"address":"module.a.module.b.db.later","kind":"provisioner","planned":true,"runs":"take-off","type":"local-exec"}]`
	if d := cmp.Diff(want, canonical(t, got["programs"])); d != "" {
		t.Error(d)
	}
	if title := text(got["title"]); !strings.HasSuffix(title, "; runs programs at take-off: 4 provisioners; runs programs to plan: 1 external data source") {
		t.Error(title)
	}
}

// TestProvisionerIsNamed plans with a real terraform.
func TestProvisionerIsNamed(t *testing.T) {
	t.Parallel()
	realTerraform(t)
	f := newFlight(t)
	config := map[string]any{"plaintext_state": true}
	f.write("main.tf", `resource "terraform_data" "box" {
  count = 2
  provisioner "local-exec" { command = "echo ran" }
}
`)
	f.plan(config, nil)
	summary := f.summary()
	const want = `[{"address":"terraform_data.box","kind":"provisioner","planned":true,"runs":"take-off","type":"local-exec"}]`
	if got := canonical(t, summary["programs"]); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if got := summary["title"]; got != "2 to create; runs programs at take-off: 1 provisioner" {
		t.Error(got)
	}
	f.takeOff(config, nil)
	f.plan(config, nil)
	if got := f.summary()["title"]; got != "No changes" {
		t.Error(got)
	}
}
