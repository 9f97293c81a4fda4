package job

import (
	"reflect"
	"testing"

	"github.com/privsgld/privsgld/sgld"
)

// TestSettingsAreWhole: what approvers sign has a member for each setting of the
// sampler that the policy and the job's own ε and δ do not decide.
func TestSettingsAreWhole(t *testing.T) {
	elsewhere := map[string]bool{"Encoding": true, "Rows": true, "Adjacency": true, "Method": true, "Epsilon": true, "Delta": true}
	signed := reflect.TypeFor[settings]()
	asked := reflect.TypeFor[sgld.Request]()
	for i := range asked.NumField() {
		name := asked.Field(i).Name
		if _, ok := signed.FieldByName(name); !ok && !elsewhere[name] {
			t.Errorf("approvers do not see %s", name)
		}
	}
	// The members are filled: each setting changes the text.
	for i := range asked.NumField() {
		name := asked.Field(i).Name
		if elsewhere[name] {
			continue
		}
		s := newShop(t)
		p := &prepared{run: s.job("out")}
		policy, err := LoadPolicy(p.run.PolicyPath)
		if err != nil {
			t.Fatal(err)
		}
		p.policy = policy
		if err := p.bind(); err != nil {
			t.Fatal(err)
		}
		before := p.settings()
		if name == "Model" {
			p.model = "other" // the job's own, which the plan is made from
		}
		switch f := reflect.ValueOf(&p.run.Sampler).Elem().FieldByName(name); f.Kind() {
		case reflect.Pointer:
			f.Set(reflect.New(f.Type().Elem()))
		case reflect.String:
			f.SetString("other")
		case reflect.Float64:
			f.SetFloat(0.77)
		case reflect.Int, reflect.Int64:
			f.SetInt(77)
		case reflect.Struct:
			p.run.Sampler.Schedule = sgld.Schedule{Alpha: 0.5}
			if name == "Prior" {
				p.run.Sampler.Schedule = sgld.Schedule{}
				if p.run.Sampler.Prior, err = sgld.ParsePrior("normal:1,x=normal:2"); err != nil {
					t.Fatal(err)
				}
			}
		default:
			t.Fatalf("%s is of a kind that this test does not know", name)
		}
		if reflect.DeepEqual(before, p.settings()) {
			t.Errorf("%s changes nothing that approvers see", name)
		}
	}
}
