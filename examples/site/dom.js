// Helpers for what is on the page. Whatever comes from others enters it as
// text only; the Content-Security-Policy would not have it otherwise.

export const $ = (id) => document.getElementById(id);

// element makes one, with properties, attributes where the name has a dash or
// is no property, and children: elements or strings.
export function element(tag, properties = {}, ...children) {
	const e = document.createElement(tag);
	for (const [name, value] of Object.entries(properties)) {
		if (name in e) e[name] = value;
		else e.setAttribute(name, value);
	}
	e.append(...children);
	return e;
}

export const icon = (name) => $(`icon-${name}`).content.cloneNode(true);

// personName is what to call the user with that id: Ada for ada.
export const personName = (id) => id.charAt(0).toUpperCase() + id.slice(1);

// avatar is a disc with initials, in a colour that is the same on every page.
export function avatar(id) {
	const initials = personName(id).split(/[\s._-]+/).filter(Boolean).slice(0, 2).map((word) => [...word][0].toUpperCase()).join("");
	const disc = element("span", { className: "avatar", "aria-hidden": "true", title: personName(id) }, initials || "?");
	disc.style.setProperty("--hue", hue(id));
	return disc;
}

function hue(id) {
	let h = 7;
	for (const c of id) h = (h * 42 + c.codePointAt(0)) % 997;
	return Math.round(h * 137.5) % 360; // the golden angle: neighbours look different
}

const clock = new Intl.DateTimeFormat([], { hour: "numeric", minute: "2-digit" });
const calendar = new Intl.DateTimeFormat([], { weekday: "long", day: "numeric", month: "long" });

export const timeOf = (date) => clock.format(date);

// dayOf is "Today", "Yesterday" or a date.
export function dayOf(date) {
	const yesterday = new Date();
	yesterday.setDate(yesterday.getDate() - 1);
	if (date.toDateString() === new Date().toDateString()) return "Today";
	if (date.toDateString() === yesterday.toDateString()) return "Yesterday";
	return calendar.format(date);
}

// listing is "Ada", "Ada and Grace" or "Ada, Grace and 3 others".
export function listing(ids) {
	const names = ids.map(personName);
	if (names.length > 3) return `${names.slice(0, 2).join(", ")} and ${names.length - 2} others`;
	if (names.length < 2) return names.join("");
	return `${names.slice(0, -1).join(", ")} and ${names.at(-1)}`;
}
