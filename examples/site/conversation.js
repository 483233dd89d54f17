// A conversation, in a room or with one person: its messages as elements.

import { avatar, dayOf, element, icon, listing, personName, timeOf } from "./dom.js";

const together = 5 * 60_000; // ms: what one person says within stands together
const most = 1000; // entries that are kept
const marks = { pending: "Waiting to be sent", sent: "Sent", failed: "Not sent" };

export class Conversation {
	unread = 0;
	members = null; // a room's, once the server has told
	typing = new Set();
	#last = {}; // the last entry's author, time and day

	constructor(kind, id) {
		this.kind = kind; // "room" or "person"
		this.id = id;
		this.key = `${kind}:${id}`;
		this.title = kind === "room" ? id : personName(id);
		this.list = element("ol", { className: "messages", role: "log", "aria-live": "polite", "aria-label": `Messages in ${this.title}` });
	}

	// add appends a message and returns it as { …message, item }.
	add(message) {
		const { from, text, time, mine } = message;
		this.#day(time);
		const first = this.#last.from !== from || time - this.#last.time > together;
		this.#last = { from, time, day: this.#last.day };

		const item = element("li", { className: `message${mine ? " mine" : ""}${first ? " first" : ""}` });
		if (first) {
			if (!mine) item.append(avatar(from));
			item.append(element("p", { className: "by" }, element("b", {}, mine ? "You" : personName(from)), " ", element("time", { dateTime: time.toISOString() }, timeOf(time))));
		}
		const bubble = element("p", { className: "bubble", title: timeOf(time) }, text);
		if (/^\p{RGI_Emoji}{1,3}$/v.test(text)) bubble.classList.add("emoji");
		item.append(bubble);
		this.#append(item);
		return { ...message, item };
	}

	// news appends a line about what happened.
	news(text) {
		this.#day(new Date());
		this.#last.from = null;
		this.#append(element("li", { className: "news" }, text));
	}

	// setMembers takes a room's members and tells who came and who left.
	setMembers(members, me) {
		const before = this.members;
		this.members = new Set(members);
		if (!before) return;
		const came = members.filter((id) => id !== me && !before.has(id));
		const left = [...before].filter((id) => id !== me && !this.members.has(id));
		if (came.length > 0) this.news(`${listing(came)} joined`);
		if (left.length > 0) this.news(`${listing(left)} left`);
	}

	#day(time) {
		const day = dayOf(time);
		if (day === this.#last.day) return;
		this.#last = { day };
		this.#append(element("li", { className: "day" }, element("span", {}, day)));
	}

	#append(entry) {
		this.list.append(entry);
		if (this.list.childElementCount > most) this.list.firstElementChild.remove();
	}
}

// mark shows how far a message of ours has come: pending, sent or failed, then
// with the reason and a button to try again.
export function mark(message, state, reason, again) {
	const { item } = message;
	item.dataset.state = state;
	item.querySelector(".status")?.remove();
	const status = element("p", { className: "status", title: marks[state] });
	status.append(icon(state), element("span", { className: state === "failed" ? "" : "unseen" }, reason ? `${marks[state]}: ${reason}` : marks[state]));
	if (state === "failed") status.append(" ", element("button", { type: "button", onclick: again }, "Try again"));
	item.append(status);
}
