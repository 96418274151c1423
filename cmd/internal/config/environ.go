package config

import (
	"fmt"
	"reflect"
	"strings"
)

// Environ returns s as environment variables, NAME=value, for another process of this
// program. All settings are in it, so that none comes from the environment that the
// process inherits. It has the secret.
func (s *Settings) Environ() []string {
	var env []string
	v := reflect.ValueOf(s).Elem()
	for field, value := range v.Fields() {
		text := fmt.Sprint(value.Interface())
		switch {
		case value.Type() == reflect.TypeFor[codeList]():
			text = strings.Join(value.Interface().(codeList), ",")
		case value.Kind() == reflect.String:
			text = value.String() // a Secret's String hides it
		}
		env = append(env, field.Tag.Get("env")+"="+text)
	}
	return env
}
