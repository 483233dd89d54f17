// The login, for development: it takes one of the tokens that login.sh has
// made, or one that is pasted. On your site this file is replaced by whatever
// asks your app for the token of the user who has logged in there.

import { $, avatar, element, personName } from "./dom.js";

// Kept for this tab only, so that two tabs are two people.
const keptToken = "token";
const keptSource = "source"; // "demo" or "pasted"

// identity resolves to { id, token, expires } of who this tab is, and asks if
// it does not know yet.
export async function identity() {
	return parse(sessionStorage.getItem(keptToken)) ?? choose(await demoTokens());
}

// renew resolves to an identity of the same user with a token other than the
// one given, or to null if there is none to be had, as for one that was pasted.
export async function renew({ id, token }) {
	if (sessionStorage.getItem(keptSource) !== "demo") return null;
	const fresh = parse((await demoTokens())[id]);
	if (!fresh || fresh.id !== id || fresh.token === token) return null;
	sessionStorage.setItem(keptToken, fresh.token);
	return fresh;
}

export const expired = ({ expires }) => expires <= Date.now();

// logOut forgets who this tab is and begins anew; `why` is shown there.
export function logOut(why = "") {
	sessionStorage.clear();
	if (why) sessionStorage.setItem("why", why);
	location.reload();
}

// demoTokens resolves to a token for each id. Without the file it is empty: a
// token can still be pasted.
async function demoTokens() {
	try {
		const response = await fetch("login.json", { cache: "no-store" });
		const tokens = response.ok ? await response.json() : {};
		return Object.fromEntries(Object.entries(tokens).filter(([, token]) => !expired(parse(token))));
	} catch {
		return {};
	}
}

// parse reads who a token is of, without checking it: that is the server's.
function parse(token) {
	try {
		const part = token.trim().split(".")[1].replaceAll("-", "+").replaceAll("_", "/");
		const bytes = Uint8Array.from(atob(part), (c) => c.charCodeAt(0));
		const { sub, exp } = JSON.parse(new TextDecoder().decode(bytes));
		return typeof sub === "string" && sub ? { id: sub, expires: exp * 1000, token: token.trim() } : null;
	} catch {
		return null;
	}
}

function choose(tokens) {
	$("login").hidden = false;
	$("login-error").textContent = sessionStorage.getItem("why") ?? "";
	sessionStorage.removeItem("why");
	const ids = Object.keys(tokens);
	$("no-users").hidden = ids.length > 0;
	$("own").open = ids.length === 0;

	return new Promise((resolve) => {
		const take = (token, source) => {
			const found = parse(token);
			if (!found) {
				$("login-error").textContent = "This is not a JSON Web Token with a user in it";
				return;
			}
			sessionStorage.setItem(keptToken, found.token);
			sessionStorage.setItem(keptSource, source);
			$("login").hidden = true;
			resolve(found);
		};
		$("users").replaceChildren(
			...ids.map((id) => element("li", {}, element("button", { type: "button", onclick: () => take(tokens[id], "demo") }, avatar(id), personName(id)))),
		);
		$("token-form").addEventListener("submit", (submit) => {
			submit.preventDefault();
			take($("token").value, "pasted");
		});
	});
}
