package realtime

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/caddy-realtime/realtime/auth"
)

// tokenFlags are those of `caddy realtime token`.
type tokenFlags struct {
	secret, secretFile, secretEnv string
	sub                           string
	claims                        []string
	ttl                           ttl
}

// ttl is a duration as in a Caddyfile, such as 1d.
type ttl time.Duration

func (t *ttl) String() string { return time.Duration(*t).String() }
func (*ttl) Type() string     { return "duration" }

func (t *ttl) Set(text string) error {
	d, err := duration(text)
	*t = ttl(d)
	return err
}

func tokenCommand() *cobra.Command {
	f := &tokenFlags{}
	cmd := &cobra.Command{
		Use:   "token --secret-file <path> --sub <id> [--claim <name>=<value>]… [--ttl <duration>]",
		Short: "Makes a JSON Web Token for development",
		Long: `Makes a JSON Web Token, signed with HS256, as "auth jwt" takes it, and prints it.

The secret comes from a file, from an environment variable, or from a flag,
which stays in the shell's history. The value of a claim is JSON if it is valid
JSON, and else a string.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			token, err := f.token()
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), token)
			return err
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.secretFile, "secret-file", "", "a file with the secret; a line break at its end does not count")
	flags.StringVar(&f.secretEnv, "secret-env", "", "the environment variable with the secret")
	flags.StringVar(&f.secret, "secret", "", "the secret itself, at least 32 bytes")
	flags.StringVar(&f.sub, "sub", "", "the claim sub, the user's id")
	flags.StringArrayVar(&f.claims, "claim", nil, "a further claim, name=value")
	f.ttl = ttl(time.Hour)
	flags.Var(&f.ttl, "ttl", "how long the token is valid, such as 15m, 8h or 1d")
	cmd.MarkFlagsOneRequired("secret", "secret-file", "secret-env")
	cmd.MarkFlagsMutuallyExclusive("secret", "secret-file", "secret-env")
	cmd.MarkFlagsOneRequired("sub", "claim")
	return cmd
}

func (f *tokenFlags) token() (string, error) {
	switch {
	case f.sub == "" && len(f.claims) == 0:
		return "", errors.New("--sub is empty; a token needs a user")
	}
	secret, err := f.loadSecret()
	if err != nil {
		return "", err
	}
	now := time.Now()
	claims := map[string]any{"iat": now.Unix(), "exp": now.Add(time.Duration(f.ttl)).Unix()}
	if f.sub != "" {
		claims["sub"] = f.sub
	}
	for _, claim := range f.claims {
		name, value, ok := strings.Cut(claim, "=")
		if !ok || name == "" {
			return "", fmt.Errorf("--claim %q is not of the form name=value", claim)
		}
		if json.Valid([]byte(value)) {
			claims[name] = json.RawMessage(value)
		} else {
			claims[name] = value
		}
	}
	text, err := json.Marshal(claims)
	if err != nil {
		return "", err
	}
	return auth.Sign(secret, text)
}

func (f *tokenFlags) loadSecret() (string, error) {
	switch {
	case f.secretFile != "":
		text, err := os.ReadFile(f.secretFile)
		if err != nil {
			return "", err
		}
		// As the placeholder {file.*} does.
		return strings.TrimSuffix(strings.TrimSuffix(string(text), "\n"), "\r"), nil
	case f.secretEnv != "":
		secret, ok := os.LookupEnv(f.secretEnv)
		if !ok {
			return "", fmt.Errorf("there is no environment variable %s", f.secretEnv)
		}
		return secret, nil
	}
	return f.secret, nil
}
