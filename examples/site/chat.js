// The chat page: rooms, people, and what they say. The rules that it talks to
// are in examples/Caddyfile.

import { $, avatar, element, listing, personName } from "./dom.js";
import { connect } from "./connection.js";
import { Conversation, mark } from "./conversation.js";
import { identity, logOut } from "./login.js";

const conversations = new Map(); // key → Conversation, in the order of the list
const online = new Set(); // user ids
const pending = new Set(); // messages of ours without an answer
let onlineCount = 0; // of which `online` may be a part
let onlineKnown = false; // whether the server has told who is online
let state = { name: "connecting", why: "" };
let current;
let connection; // with goOffline and goOnline, once the client is loaded
let socket;

const me = await identity();

// ---- conversations ----

const find = (kind, id) => conversations.get(`${kind}:${id}`);
const rooms = () => [...conversations.values()].filter((c) => c.kind === "room").map((c) => c.id);

function open(kind, id) {
	const found = find(kind, id);
	if (found) return found;
	const c = new Conversation(kind, id);
	conversations.set(c.key, c);
	if (kind === "room") {
		sessionStorage.setItem("rooms", JSON.stringify(rooms()));
		if (socket?.connected) joinRoom(id); // else the handshake does
	}
	return c;
}

async function joinRoom(id) {
	const answer = await ask("join-room", id);
	if (answer?.error) find("room", id)?.news(`You are not in this room: ${answer.error}`);
}

function enter(c) {
	stopTyping();
	current = c;
	c.unread = 0;
	$("app").dataset.pane = "talk";
	$("scroll").replaceChildren(c.list);
	toEnd();
	showAll();
	if (matchMedia("(hover: hover)").matches) $("text").focus();
}

function leave(c) {
	conversations.delete(c.key);
	sessionStorage.setItem("rooms", JSON.stringify(rooms()));
	if (c.kind === "room") ask("leave-room", c.id);
	enter(conversations.values().next().value);
}

// ---- messages ----

// ask resolves to the server's acknowledgement, or to an error of ours.
async function ask(event, ...args) {
	try {
		return await socket.emitWithAck(event, ...args);
	} catch {
		return { error: "no answer" };
	}
}

function say(text) {
	const message = current.add({ key: crypto.randomUUID(), from: me.id, text, time: new Date(), mine: true });
	deliver(current, message);
	toEnd();
}

// deliver sends a message with a key that is the same at each attempt, by
// which the server knows what it has got already.
async function deliver(c, message) {
	const { key, text } = message;
	mark(message, "pending");
	pending.add(message);
	showConnection();
	const answer =
		c.kind === "room"
			? await ask("send-message", { key, roomId: c.id, text })
			: await ask("private-message", { key, toUserId: c.id, message: text });
	pending.delete(message);
	if (answer?.error) mark(message, "failed", answer.error, () => deliver(c, message));
	else mark(message, "sent");
	showConnection();
}

function receive(c, from, text, timestamp) {
	const mine = from === me.id; // from another tab
	keepEnd(c, () => {
		const message = c.add({ from, text: String(text), time: new Date(timestamp), mine });
		if (mine) mark(message, "sent");
	});
	if (!mine && (c !== current || document.hidden)) c.unread++;
	c.typing.delete(from);
	showAll();
}

// keepEnd does what makes a list longer, and scrolls if its end was in sight.
function keepEnd(c, change) {
	const { scrollHeight, scrollTop, clientHeight } = $("scroll");
	const atEnd = scrollHeight - scrollTop - clientHeight < 120;
	change();
	if (c === current && atEnd) toEnd();
}

const toEnd = () => $("scroll").scrollTo({ top: $("scroll").scrollHeight });

// ---- who types ----

let typedAt = 0; // when we last said that we type; 0: we do not
const shown = 3500; // ms that "is typing" is shown in a private chat

// Volatile: this is not worth keeping for later. In a room, the server says
// when somebody stops; in a private chat, no more such events mean that.
function startTyping() {
	if (!socket?.connected || Date.now() - typedAt < 2000) return;
	typedAt = Date.now();
	if (current.kind === "room") socket.volatile.emit("typing-start", { roomId: current.id });
	else socket.volatile.emit("private-typing", { toUserId: current.id });
}

function stopTyping() {
	if (typedAt && current.kind === "room" && socket?.connected) socket.volatile.emit("typing-stop", { roomId: current.id });
	typedAt = 0;
}

function privateTyping(id) {
	const c = find("person", id);
	if (!c) return;
	c.typing.add(id);
	clearTimeout(c.typingEnds);
	c.typingEnds = setTimeout(() => {
		c.typing.delete(id);
		showTyping();
	}, shown);
	showTyping();
}

// ---- what the page shows ----

function showAll() {
	showRooms();
	showPeople();
	showHead();
	showTyping();
}

function entry(c, face, label, details) {
	const button = element("button", { type: "button", onclick: () => enter(c()) }, face, element("span", { className: "label" }, label), ...details);
	return element("li", {}, button);
}

function unreadBadge(n) {
	if (!n) return [];
	return [element("span", { className: "badge" }, n > 99 ? "99+" : String(n), element("span", { className: "unseen" }, " unread"))];
}

function showRooms() {
	const entries = [...conversations.values()].filter((c) => c.kind === "room").map((c) => {
		const count = c.members && isLive() ? [element("span", { className: "count", title: "People in the room" }, String(c.members.size))] : [];
		const item = entry(() => c, element("span", { className: "hash", "aria-hidden": "true" }, "#"), c.title, [...unreadBadge(c.unread), ...count]);
		if (c === current) item.firstChild.setAttribute("aria-current", "page");
		return item;
	});
	replace($("rooms"), entries);
	const unread = [...conversations.values()].reduce((sum, c) => sum + c.unread, 0);
	$("unread-all").textContent = unread;
	$("unread-all").hidden = unread === 0;
	document.title = `${unread ? `(${unread}) ` : ""}${current.title} · realtime for Caddy`;
}

function showPeople() {
	const known = [...conversations.values()].filter((c) => c.kind === "person").map((c) => c.id);
	const ids = [...new Set([...online, ...known])].filter((id) => id !== me.id).sort();
	const entries = ids.map((id) => {
		const there = isLive() && online.has(id);
		const face = element("span", { className: there ? "face there" : "face" }, avatar(id));
		const c = find("person", id);
		const item = entry(() => open("person", id), face, personName(id), [
			element("span", { className: "unseen" }, !isLive() ? "" : there ? ", online" : ", offline"),
			...unreadBadge(c?.unread),
		]);
		if (c && c === current) item.firstChild.setAttribute("aria-current", "page");
		return item;
	});
	replace($("people"), entries);
	$("nobody").hidden = !onlineKnown || ids.length > 0;
	$("unknown").hidden = onlineKnown;
	$("online-count").textContent = isLive() && onlineCount ? `${onlineCount} online` : "";
}

// replace puts new entries into a list, and the focus where it was.
function replace(list, entries) {
	const focused = [...list.children].findIndex((item) => item.contains(document.activeElement));
	list.replaceChildren(...entries);
	list.children[focused]?.firstChild.focus();
}

function showHead() {
	const { kind, id, title, members } = current;
	$("title").textContent = kind === "room" ? `# ${title}` : title;
	if (!isLive()) $("subtitle").textContent = ""; // who is here is not known
	else if (kind === "person") $("subtitle").textContent = online.has(id) ? "Online · only the two of you see this" : "Offline";
	else if (!members || members.size < 2) $("subtitle").textContent = members ? "Only you are here" : "";
	else $("subtitle").textContent = `${members.size} people here`;
	$("faces").replaceChildren(...(isLive() ? [...(members ?? [])].slice(0, 5).map(avatar) : []));
	$("leave").hidden = kind !== "room" || id === "lobby";
	$("text").placeholder = kind === "room" ? `Message # ${title}` : `Message ${title}, privately`;
}

function showTyping() {
	const ids = [...current.typing];
	$("typing").replaceChildren();
	if (ids.length === 0) return;
	const dots = element("span", { className: "dots", "aria-hidden": "true" }, element("i"), element("i"), element("i"));
	$("typing").append(dots, `${listing(ids)} ${ids.length > 1 ? "are" : "is"} typing…`);
}

const isLive = () => state.name === "live";
const states = { live: "Live", connecting: "Connecting…", offline: "Offline" };
const transports = { websocket: "WebSocket", polling: "HTTP polling" };

function showConnection() {
	const { name, transport, why } = state;
	$("state").dataset.state = name;
	$("go").textContent = name === "offline" ? "Go online" : "Go offline";
	const text = name === "connecting" && why ? "Not connected" : states[name];
	$("state-text").replaceChildren(text, ...(transport ? [element("span", { className: "transport" }, ` · ${transports[transport] ?? transport}`)] : []));

	const waiting = pending.size === 1 ? "1 message waits" : `${pending.size} messages wait`;
	const then = pending.size > 0 ? `${waiting}, to be sent when you are connected.` : "What you write is sent when you are connected.";
	$("notice").hidden = isLive() || !(why || started || pending.size > 0);
	$("notice").textContent = `${why || "Not connected."} ${then}`;
}

// ---- what the server says ----

let started = false; // whether we have ever been connected

function listen() {
	socket.on("connect", () => {
		const back = socket.recovered ? "You are back, and have missed nothing." : "You are back. What others said meanwhile is not shown.";
		if (started) for (const c of conversations.values()) c.news(back);
		started = true;
		toEnd();
	});
	socket.on("disconnect", () => {
		for (const c of conversations.values()) c.typing.clear();
		showTyping();
	});

	socket.on("new-message", ({ roomId, userId, text, timestamp }) => {
		const c = find("room", roomId);
		if (c) receive(c, userId, text, timestamp);
	});
	socket.on("private-message", ({ fromUserId, toUserId, message, timestamp }) => {
		receive(open("person", fromUserId === me.id ? toUserId : fromUserId), fromUserId, message, timestamp);
	});

	socket.on("private-typing", ({ fromUserId }) => privateTyping(fromUserId));
	socket.on("user-typing", ({ roomId, userId }) => {
		if (userId !== me.id) find("room", roomId)?.typing.add(userId);
		showTyping();
	});
	socket.on("user-stopped-typing", ({ userId }) => {
		for (const c of conversations.values()) c.typing.delete(userId);
		showTyping();
	});

	// Lists; in a crowd a part of the list and the number of all, then changes.
	socket.on("online-users", (ids, count = ids.length) => {
		online.clear();
		for (const id of ids) online.add(id);
		onlineCount = count;
		onlineKnown = true;
		showAll();
	});
	socket.on("user-online", ({ userId }) => {
		online.add(userId);
		onlineCount++;
		showAll();
	});
	socket.on("user-offline", ({ userId }) => {
		online.delete(userId);
		onlineCount--;
		showAll();
	});
	socket.on("room-members", ({ room, members, joined = [], left = [] }) => {
		const c = find("room", room);
		if (!c) return;
		const after = members ?? [...(c.members ?? [])].filter((id) => !left.includes(id)).concat(joined);
		keepEnd(c, () => c.setMembers(after, me.id));
		showAll();
	});

	socket.on("error", ({ event, message }) => keepEnd(current, () => current.news(`${event}: ${message}`)));
}

// ---- forms and keys ----

function fitText() {
	$("text").style.height = "auto";
	$("text").style.height = `${Math.min($("text").scrollHeight, 160)}px`;
}

$("compose").addEventListener("submit", (submit) => {
	submit.preventDefault();
	const text = $("text").value.trim();
	if (!text) return;
	$("text").value = "";
	fitText();
	stopTyping();
	say(text);
});

$("text").addEventListener("keydown", (key) => {
	if (key.key !== "Enter" || key.shiftKey || key.isComposing) return;
	key.preventDefault();
	$("compose").requestSubmit();
});

$("text").addEventListener("input", () => {
	fitText();
	if ($("text").value.trim()) startTyping();
	else stopTyping();
});

$("room-form").addEventListener("submit", (submit) => {
	submit.preventDefault();
	const wanted = $("room").value.trim();
	const name = roomName(wanted);
	$("room-hint").hidden = name !== "" || wanted === "";
	$("room-hint").textContent = `“${wanted}” cannot be a room here: ${namesAre}.`;
	if (!name) return;
	$("room").value = "";
	const c = open("room", name);
	if (name !== wanted) c.news(`“${wanted}” became “${name}”: ${namesAre}.`);
	enter(c);
});

$("room").addEventListener("input", () => ($("room-hint").hidden = true));

const namesAre = "names of rooms are made of a to z, 0 to 9 and hyphens";

// roomName is what the option allow_rooms of examples/Caddyfile allows: accents
// go, and what is left of other characters are hyphens.
function roomName(text) {
	const plain = text.normalize("NFKD").replace(/\p{M}+/gu, "").toLowerCase();
	return plain.replace(/[^a-z0-9]+/g, "-").slice(0, 40).replace(/^-+|-+$/g, "");
}

// What is written meanwhile waits in the client as it does without a network.
$("go").addEventListener("click", () => {
	if (state.name === "offline") connection?.goOnline();
	else connection?.goOffline();
});
$("leave").addEventListener("click", () => leave(current));
$("log-out").addEventListener("click", () => logOut());
$("open-side").addEventListener("click", () => {
	$("app").dataset.pane = "side";
	$("close-side").focus();
});
$("close-side").addEventListener("click", () => {
	$("app").dataset.pane = "talk";
	$("open-side").focus();
});
addEventListener("keydown", (key) => {
	if (key.key === "Escape" && $("app").dataset.pane === "side") $("close-side").click();
});
document.addEventListener("visibilitychange", () => {
	if (document.hidden) return;
	current.unread = 0;
	showAll();
});

// ---- begin ----

$("app").hidden = false;
$("me").append(avatar(me.id), element("span", {}, personName(me.id)));
for (const id of JSON.parse(sessionStorage.getItem("rooms")) ?? ["lobby", "garden", "workshop"]) open("room", id);
enter(find("room", "lobby"));
try {
	connection = await connect(me, rooms, (now) => {
		state = now;
		showConnection();
		showAll();
	});
	socket = connection.socket;
	listen();
} catch {
	state = { name: "offline", why: "The client is missing: run npm ci in examples/, then load this page again." };
	showConnection();
}
