// Package rawjson reads JSON (RFC 8259) where it lies: it checks it once and
// then finds, skips and compares values without decoding them, so that what a
// client sent can be passed on byte for byte.
//
// Every function but Check and CheckArray expects bytes that they accepted, or
// a value found in such bytes; on others the result is unspecified, but no
// function panics or reads beyond its argument. Slices returned alias the
// argument. A quoted string is a JSON string with its quotes. Nothing here
// keeps state: all functions are safe for concurrent use.
package rawjson
