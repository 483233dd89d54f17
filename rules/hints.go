package rules

import (
	"regexp"
	"slices"
	"strings"
)

// The tables of this file say what to write instead of what people bring along
// from other languages and from Socket.IO's server. They are consulted only for
// what is an error already, so that they cannot be wrong about what works.

// A hint is for texts that match.
type hint struct {
	when *regexp.Regexp
	say  string
}

func hinted(hints []hint, text string) string {
	for _, h := range hints {
		if h.when.MatchString(text) {
			return h.say
		}
	}
	return ""
}

func hints(pairs ...string) (list []hint) {
	for pair := range slices.Chunk(pairs, 2) {
		list = append(list, hint{regexp.MustCompile(pair[0]), pair[1]})
	}
	return list
}

// syntaxHints are for expressions that cannot be parsed. Their strings are
// blank.
var syntaxHints = hints(
	`^//`, `a comment begins with #`,
	`,$`, `arguments are separated by spaces, without commas`,
	`;`, `steps and expressions end without a semicolon`,
	`\{\$|\{(env|file|system|http|time|vars)\.`, `a placeholder of Caddy is replaced only within double quotes, as in "{env.NAME}"`,
	`!==`, `write != instead of !==`,
	`===`, `write == instead of ===`,
	`\?\?`, `there is no ??; a default is written has(data.x) ? data.x : "default"`,
	`\?\.`, `there is no ?.; has(data.x) tests whether a field is there`,
	`=>|`+bareWord+`function\b`, `there are no functions of your own; write list.exists(x, x.id == 1), or all, filter, map`,
	`\.\.\.`, `there is no spread; write merge(data, {"key": value}) for maps, a + b for lists, and args... as an argument of its own`,
	bareWord+`typeof\b`, `there is no typeof; write type(data.x) == string`,
	`\binstanceof\b`, `there is no instanceof; write type(data.x) == list`,
	bareWord+`new\s+Date\b`, `the time is the variable now, in milliseconds`,
	bareWord+`new\s`, `there are no objects to create; a map is written {"key": value}`,
	bareWord+`await\s`, `there is no await; the step ask waits for the client's answer`,
	bareWord+`delete\s`, `a field cannot be removed; write a map with the fields to keep`,
	`\$\{`, `there are no template literals; write "text " + data.name`,
	` and( |$)`, `write && instead of and`,
	` or( |$)`, `write || instead of or`,
	bareWord+`not( |\()`, `write ! instead of not`,
	`\+\+|--|[-+*/]=`, `a value cannot be changed; let and set give values names`,
	`[^=!<>]=([^=]|$)`, `write == for a comparison; values are stored by the steps let and set`,
	`/\.test\(|\(/`, `a regular expression is a string: data.x.matches("^[a-z]+$")`,
	`->`, `a field is selected by a dot: data.x`,
	`^\{\s*\w+\s*[,}]`, `the keys and values of a map are written out: {"text": data.text}`,
	`\.\d`, `an element is selected in brackets: data[0]`,
)

// bareWord comes before a word that is not a field.
const bareWord = `(^|[^.\w])`

// methodHints are for functions that values have elsewhere.
var methodHints = map[string]string{
	"to":             `to send to others, use the step broadcast <event> <arg> to <room>`,
	"emit":           `to send, use the step emit <event> <arg>, or broadcast`,
	"send":           `to send, use the step emit <event> <arg>, or broadcast`,
	"leave":          `to leave a room, use the step leave <room>`,
	"disconnect":     `use the step disconnect`,
	"keys":           `write data.exists(key, key == "x"); a map is a list of its keys there`,
	"includes":       `write data.text.contains("x") for a string, "x" in data.list for a list`,
	"length":         `write size(data.x)`,
	"len":            `write size(data.x)`,
	"count":          `write size(data.x)`,
	"toLowerCase":    `write data.x.lowerAscii()`,
	"toUpperCase":    `write data.x.upperAscii()`,
	"slice":          `write data.x.substring(0, 10)`,
	"substr":         `write data.x.substring(0, 10)`,
	"push":           `a list cannot be changed; write data.list + [x]`,
	"concat":         `write a + b`,
	"some":           `write data.list.exists(x, x == 1)`,
	"every":          `write data.list.all(x, x > 0)`,
	"find":           `write data.list.filter(x, x.id == 1), or exists`,
	"findIndex":      `write data.list.exists(x, x.id == 1)`,
	"forEach":        `write data.list.map(x, x.id), or all, exists, filter`,
	"reduce":         `write data.list.map(x, x.id), or all, exists, filter`,
	"toString":       `write string(data.x)`,
	"toFixed":        `write string(data.x)`,
	"test":           `write data.x.matches("^[a-z]+$")`,
	"match":          `write data.x.matches("^[a-z]+$")`,
	"search":         `write data.x.matches("^[a-z]+$")`,
	"has":            `write has(data.x) for a field, in_room("name") for a room`,
	"hasOwnProperty": `write has(data.x)`,
	"get":            `write data.x or data["x"]`,
	"replaceAll":     `write data.x.replace("a", "b"), which replaces all`,
	"exists":         `write data.list.exists(x, x == 1), with a name for the element`,
	"all":            `write data.list.all(x, x > 0), with a name for the element`,
	"filter":         `write data.list.filter(x, x > 0), with a name for the element`,
	"map":            `write data.list.map(x, x.id), with a name for the element`,
}

// globalHints are for what JavaScript has everywhere.
var globalHints = map[string]string{
	"Date":       `the time is the variable now, in milliseconds`,
	"Math":       `there is no Math; int(x) cuts a number to a whole one`,
	"JSON":       `values are JSON already; leave JSON.parse and JSON.stringify out`,
	"Array":      `write type(data.x) == list`,
	"Object":     `write data.exists(key, key == "x"); a map is a list of its keys there`,
	"process":    `a variable of the environment is written in double quotes, as in "{env.NAME}"`,
	"parseInt":   `write int(x)`,
	"parseFloat": `write double(x)`,
	"Number":     `write int(x) or double(x)`,
	"String":     `write string(x)`,
	"Boolean":    `write bool(x)`,
	"isNaN":      `write type(x) == int or type(x) == double`,
	"crypto":     `a new random id is uuid()`,
	"uuidv4":     `a new random id is uuid()`,
	"nanoid":     `a new random id is uuid()`,
	"randomUUID": `a new random id is uuid()`,
	"undefined":  `there is no undefined; has(data.x) tests whether a field is there`,
	"NaN":        `there is no NaN`,
	"nil":        `the value is called null`,
	"None":       `the value is called null`,
	"NULL":       `the value is called null`,
	"True":       `the value is called true`,
	"TRUE":       `the value is called true`,
	"yes":        `the value is called true`,
	"False":      `the value is called false`,
	"FALSE":      `the value is called false`,
	"no":         `the value is called false`,
	"io":         `there is no io; to send to everyone, use the step emit <event> <arg> to *`,
	"console":    `to write to the log, use the step log <value>`,
	"this":       `the client is socket`,
	"callback":   `the client's callback is called by the step ack <arg>`,
	"cb":         `the client's callback is called by the step ack <arg>`,
	"next":       `a rule goes on by itself; require refuses`,
	"len":        `write size(x)`,
	"length":     `write size(x)`,
	"strlen":     `write size(x)`,
	"isset":      `write has(data.x)`,
	"defined":    `write has(data.x)`,
	"exists":     `write has(data.x) for a field, data.list.exists(x, x == 1) for an element`,
	"contains":   `write data.text.contains("x") for a string, "x" in data.list for a list`,
}

// nameHints are for variables that handlers of Socket.IO's server have.
var nameHints = map[string]string{
	"msg":       `the event's first argument is data`,
	"message":   `the event's first argument is data, a field of it data.message`,
	"payload":   `the event's first argument is data`,
	"body":      `the event's first argument is data`,
	"arg":       `the event's arguments are args[0], args[1] …`,
	"arguments": `the event's arguments are args`,
	"auth":      `what the client sends to connect is socket.handshake.auth; the verified claims are user`,
	"handshake": `it is socket.handshake`,
	"query":     `it is socket.handshake.query`,
	"headers":   `it is socket.handshake.headers`,
	"request":   `the request is socket.handshake`,
	"req":       `the request is socket.handshake`,
	"claims":    `the token's claims are user`,
	"token":     `the token's claims are user; rules never see the token itself`,
	"userId":    `the user's id is user.id, a field of the event's first argument data.userId`,
	"user_id":   `the user's id is user.id, a field of the event's first argument data.user_id`,
	"room":      `the variable room is known only in allow_rooms; a field of the event's first argument is data.room`,
	"rooms":     `the socket's rooms are socket.rooms`,
	"client":    `the client is socket`,
	"name":      `the event's name is event, a field of the event's first argument data.name`,
	"timestamp": `the time is now, in milliseconds; a field of the event's first argument is data.timestamp`,
	"time":      `the time is now, in milliseconds; a field of the event's first argument is data.time`,
}

// reservedHints are for words that CEL reserves.
var reservedHints = map[string]string{
	"namespace": `the namespace's name is the variable nsp`,
	"function":  `there are no functions of your own`,
	"return":    `a rule has no return; the step ack answers, ignore ends a rule`,
	"if":        `a choice is written condition ? a : b`,
	"else":      `a choice is written condition ? a : b`,
	"for":       `loops are written data.list.all(x, x > 0), exists, filter, map`,
	"while":     `loops are written data.list.all(x, x > 0), exists, filter, map`,
}

// fieldHints are for fields that socket has on Socket.IO's server, or that
// people look for in it.
var fieldHints = map[string]string{
	"user":      `the token's claims are the variable user`,
	"userId":    `the user's id is user.id`,
	"user_id":   `the user's id is user.id`,
	"username":  `a value that a rule has set is socket.data.username, a claim of the token user.username`,
	"request":   `the request is socket.handshake`,
	"client":    `rules do not see the connection`,
	"conn":      `rules do not see the connection`,
	"nsp":       `the namespace's name is the variable nsp`,
	"namespace": `the namespace's name is the variable nsp`,
	"auth":      `it is socket.handshake.auth`,
	"query":     `it is socket.handshake.query`,
	"headers":   `it is socket.handshake.headers`,
	"address":   `it is socket.handshake.address`,
	"ip":        `it is socket.handshake.address`,
	"event":     `the event's name is the variable event`,
	"token":     `the token's claims are the variable user; rules never see the token itself`,
	"to":        `to send to others, use the step broadcast <event> <arg> to <room>`,
	"broadcast": `to send to others, use the step broadcast <event> <arg>`,
	"join":      `to join a room, use the step join <room>`,
	"emit":      `to send to this socket, use the step emit <event> <arg>`,
}

// stepHints are for the calls of a handler of Socket.IO's server. A name ends
// at its first parenthesis.
var stepHints = hints(
	`^//|^/\*`, `a comment begins with #`,
	`^(socket|client|io|this|nsp)\.(broadcast\.)?(volatile\.)?(to|in)$|^to$`, `write broadcast <event> <arg> to <room>, or emit, which includes this socket`,
	`^socket\.broadcast`, `write broadcast <event> <arg>`,
	`^(io|nsp)\.(emit|send)$`, `write emit <event> <arg> to *`,
	`^(socket|client)\.(emit|send)$`, `write emit <event> <arg>`,
	`^socket\.(join|leave|disconnect)$`, `it is written without socket and parentheses`,
	`^socket\.(use|on)$|^io\.(use|on)$|^on$`, `a rule belongs in the realtime block, beside the other rules`,
	`^(send|publish|reply|write)$`, `write emit <event> <arg> to send, ack <arg> to answer`,
	`^(callback|cb|fn|done|respond|answer|return)$`, `write ack <arg> to answer, ignore to end the rule`,
	`^next$`, `a rule goes on by itself; require refuses`,
	`^(throw|reject|refuse|deny|error|fail|assert|check|validate|allow)$`, `write require <condition> "message", or schema`,
	`^(else|elseif|elsif|elif|unless)$|^\}$`, "there is no else; write a second if with the opposite condition, as in: if `!(data.a == 1)` { … }",
	`^(var|const|auto|def)$`, `write let <name> <value>`,
	`^(console\.\w+|print|debug|logger\.\w+)$`, `write log <value>`,
	`^(subscribe|enter)$`, `write join <room>`,
	`^(unsubscribe|exit)$`, `write leave <room>`,
	`^(kick|close|ban)$`, `write disconnect, or disconnect true to close the connection`,
	`^(set_data|store|save|assign)$|^socket\.data`, `write set <key> <value>`,
	`^(limit|throttle|rate_limit|ratelimit)$`, `write rate 10/s`,
	`^(wait|await|sleep|setTimeout|setInterval)$`, `a rule cannot wait, except by ask for the client's answer`,
	`^(auth|use|limits|presence|namespace|origins|allow_rooms)$`, `it is an option of the realtime block, not a step`,
	`^(forward|upstream|webhook|http|fetch)$`, `a rule of this version cannot call the app`,
)

// eventHints are for names that events cannot have.
var eventHints = map[string]string{
	"disconnecting": `write on disconnect, where socket.rooms still has the socket's rooms`,
	"connect_error": `clients are told by require in on connect`,
	"error":         `the server sends it to clients whose event is refused`,
	"token-expired": `the server sends it when a token expires`,
}

// unknownStep says what to write instead of a step called name.
func unknownStep(name string) string {
	bare, _, called := strings.Cut(name, "(")
	if hint := hinted(stepHints, bare); hint != "" {
		return ": " + hint
	}
	if called && actions[bare] != nil {
		return ": steps are written without parentheses and commas, as in: emit hello data"
	}
	return Suggest(name, "the steps", StepNames())
}
