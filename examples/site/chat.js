// A chat that uses the stock socket.io-client and the presets `rooms`, `chat`
// and `updates`. Whatever comes from others enters the page as text only.

const $ = (id) => document.getElementById(id);

const rooms = new Map(); // name → { entries, unread, members }
const names = new Map(); // userId → name, as far as we have heard
let current = "lobby";
let socket;

// ---- who we are ----

// Each tab is somebody of its own, so that two tabs can talk.
const pick = (list) => list[Math.floor(Math.random() * list.length)];
let me = sessionStorage.getItem("name") ?? `${pick(["Quiet", "Swift", "Merry", "Clever", "Gentle", "Sunny"])} ${pick(["Otter", "Heron", "Badger", "Finch", "Lynx", "Hare"])}`;
sessionStorage.setItem("name", me);
$("name").value = me;

// ---- the connection ----

function showState(state, text) {
	$("state").dataset.state = state;
	$("state-text").textContent = text;
}

function showTransport() {
	const { name } = socket.io.engine.transport;
	showState("live", name === "websocket" ? "Live, over WebSocket" : "Live, over HTTP polling");
}

async function start() {
	let io;
	try {
		({ io } = await import("/socket.io/socket.io.esm.min.js"));
	} catch {
		showState("refused", "The client is missing: run npm ci in examples/");
		return;
	}
	socket = io({ auth: (give) => give({ name: me }) });

	let before = false;
	socket.on("connect", async () => {
		showTransport();
		socket.io.engine.on("upgrade", showTransport);
		if (!before) {
			before = true;
			[...rooms.keys()].forEach(join);
			return;
		}
		await ask("rejoin-rooms", [...rooms.keys()]); // quietly: nobody is told again
		countAll();
	});
	socket.on("disconnect", () => {
		showState("connecting", "Connection lost, trying again…");
	});
	socket.on("connect_error", (error) => {
		if (socket.active) showState("connecting", "The server does not answer, trying again…");
		else showState("refused", `Refused: ${error.message}`);
	});
	socket.on("error", ({ event, message }) => addNews(current, `${event}: ${message}`));

	socket.on("new-message", receive);
	socket.on("user-joined", ({ roomId, userId, name }) => {
		names.set(userId, name);
		countAll();
		addNews(roomId, `${name} is here`);
	});
	socket.on("user-left", ({ userId }) => {
		if (names.has(userId)) addNews(current, `${names.get(userId)} has left`);
		names.delete(userId);
		countAll();
	});
	socket.on("batch-updates", (waves) => waves.forEach((w) => wave(Number(w?.x) || 0)));
}

// ask emits and resolves to the acknowledgement, or to an error of ours.
async function ask(event, ...args) {
	try {
		return await socket.timeout(10_000).emitWithAck(event, ...args);
	} catch {
		return { error: "No answer" };
	}
}

// ---- rooms ----

async function join(name) {
	const answer = await ask("join-room", name);
	if (answer?.error) addNews(name, answer.error);
	else count(name);
}

async function count(name) {
	const members = await ask("members", name);
	if (typeof members !== "number") return;
	rooms.get(name).members = members;
	showHead();
}

const countAll = () => [...rooms.keys()].forEach(count);

function open(name) {
	if (rooms.has(name)) return;
	rooms.set(name, { entries: [], unread: 0, members: 0 });
	if (socket?.connected) join(name);
}

function enter(name) {
	open(name);
	current = name;
	rooms.get(name).unread = 0;
	showRooms();
	showHead();
	$("messages").replaceChildren(...rooms.get(name).entries);
	$("messages").scrollTop = $("messages").scrollHeight;
}

function showRooms() {
	$("rooms").replaceChildren(
		...[...rooms].map(([name, room]) => {
			const button = element("button", { type: "button" }, name);
			button.setAttribute("aria-current", String(name === current));
			if (room.unread > 0) {
				const badge = element("span", { className: "unread" }, String(room.unread));
				badge.append(element("span", { className: "hidden" }, " unread"));
				button.append(badge);
			}
			button.addEventListener("click", () => {
				enter(name);
				$("text").focus();
			});
			const item = element("li");
			item.append(button);
			return item;
		}),
	);
}

function showHead() {
	const { members } = rooms.get(current);
	$("room-title").textContent = `# ${current}`;
	$("members").textContent = members > 1 ? `${members} people here` : members === 1 ? "Only you are here" : "";
	document.title = `${current} · realtime for Caddy`;
}

// ---- messages ----

const waiting = new Map(); // our key → the element of a message on its way

function element(tag, properties = {}, text) {
	const e = Object.assign(document.createElement(tag), properties);
	if (text !== undefined) e.textContent = text;
	return e;
}

// A colour for a name, the same in every tab.
function hue(name) {
	let h = 0;
	for (const c of name) h = (h * 31 + c.codePointAt(0)) % 360;
	return h;
}

// add puts an element into a room and shows it if that room is open.
function add(name, ...entries) {
	const room = rooms.get(name);
	if (!room) return;
	room.entries.push(...entries);
	if (name !== current) return;
	const list = $("messages");
	const atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 80;
	list.append(...entries);
	if (atEnd) list.scrollTop = list.scrollHeight;
}

function addNews(name, text) {
	add(name, element("li", { className: "news" }, text));
}

function addMessage(roomId, name, text, time, mine) {
	const by = element("li", { className: mine ? "by mine" : "by" });
	const who = element("b", {}, mine ? "You" : name);
	who.style.setProperty("--hue", hue(name));
	by.append(who, element("time", { dateTime: time.toISOString() }, time.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" })));
	const body = element("li", { className: mine ? "message mine" : "message" }, text);
	add(roomId, by, body);
	return body;
}

function receive({ roomId, text, name, userId, key, timestamp }) {
	if (waiting.has(key)) {
		arrived(key);
		return;
	}
	const room = rooms.get(roomId);
	if (!room) return;
	names.set(userId, String(name));
	addMessage(roomId, String(name), String(text), new Date(timestamp), false);
	if (roomId !== current) {
		room.unread++;
		showRooms();
	}
}

function arrived(key) {
	waiting.get(key)?.classList.remove("waiting");
	waiting.delete(key);
}

async function say(text) {
	const key = `${socket?.id}-${Date.now()}-${Math.random()}`;
	const body = addMessage(current, me, text, new Date(), true);
	body.classList.add("waiting");
	waiting.set(key, body);
	const answer = await ask("send-message", { roomId: current, text, name: me, key });
	if (!answer?.error) {
		arrived(key);
		return;
	}
	waiting.delete(key);
	body.classList.replace("waiting", "failed");
	body.append(element("span", { className: "trouble" }, `Not sent: ${answer.error}`));
}

function wave(x) {
	const hand = element("span", {}, "👋");
	hand.style.setProperty("--x", `${Math.min(95, Math.max(2, x))}%`);
	hand.style.setProperty("--drift", `${Math.round(Math.random() * 120 - 60)}px`);
	hand.addEventListener("animationend", () => hand.remove());
	if ($("sky").childElementCount < 200) $("sky").append(hand);
}

// ---- forms ----

$("message-form").addEventListener("submit", (submit) => {
	submit.preventDefault();
	const text = $("text").value.trim();
	if (!text || !socket) return;
	$("text").value = "";
	say(text);
});

$("wave").addEventListener("click", () => socket?.emit("update", { x: Math.random() * 95 }));

$("room-form").addEventListener("submit", (submit) => {
	submit.preventDefault();
	const name = $("room").value.toLowerCase().replace(/[^a-z0-9]+/g, "-").replace(/^-+|-+$/g, "");
	if (!name) return;
	$("room").value = "";
	enter(name);
});

$("name-form").addEventListener("submit", (submit) => {
	submit.preventDefault();
	$("name").blur();
});

$("name").addEventListener("change", () => {
	me = $("name").value.trim().slice(0, 40) || me;
	$("name").value = me;
	sessionStorage.setItem("name", me);
	socket?.disconnect().connect(); // the name is part of the handshake
});

for (const name of ["lobby", "garden", "workshop"]) open(name);
enter(current);
start();
