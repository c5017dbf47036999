package config

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// String returns the text in force. For secrets it is the way that cannot miss
// an unreadable file.
func (c *Config) String(key, role string) (string, error) {
	v := c.Get(key, role)
	return v.Text, v.Err
}

// Bool returns a setting that is true or false, in any case.
func (c *Config) Bool(key, role string) (bool, error) {
	v := c.Get(key, role)
	switch strings.ToLower(v.Text) {
	case "true":
		return true, v.Err
	case "false":
		return false, v.Err
	}
	return false, v.invalid("must be true or false")
}

// Int returns a whole number that is not negative.
func (c *Config) Int(key, role string) (int, error) {
	v := c.Get(key, role)
	n, err := strconv.Atoi(v.Text)
	if err != nil || n < 0 {
		return 0, v.invalid("must be a whole number, 0 or more")
	}
	return n, nil
}

// Hours returns a setting in whole hours, at least one and at most a year.
func (c *Config) Hours(key, role string) (time.Duration, error) {
	v := c.Get(key, role)
	n, err := strconv.Atoi(v.Text)
	if err != nil || n < 1 || n > 366*24 {
		return 0, v.invalid("must be whole hours, 1 to 8784")
	}
	return time.Duration(n) * time.Hour, nil
}

// TimeOfDay returns a setting of the form HH:MM, 00:00 to 23:59. It is local time.
func (c *Config) TimeOfDay(key, role string) (hour, minute int, err error) {
	v := c.Get(key, role)
	t, err := time.Parse("15:04", v.Text)
	if err != nil || len(v.Text) != len("15:04") {
		return 0, 0, v.invalid("must be a time of day as HH:MM, such as 01:10")
	}
	return t.Hour(), t.Minute(), nil
}

// invalid names key, value and source. A secret in the wrong place stays hidden.
func (v Value) invalid(want string) error {
	if v.Err != nil {
		return v.Err
	}
	return fmt.Errorf("%w: %s is %q (%s): %s", ErrInvalid, v.Key, v.Masked(), v.Source, want)
}
