// The connection: the stock socket.io-client, told what this page needs.

import { expired, logOut, renew } from "./login.js";

// connect makes the socket of an identity. While there is no connection, what
// is emitted waits in the client, in order; `retries` and `ackTimeout` send it
// again until the server has answered. `rooms` is asked at every connect, so
// that the server has this socket in its rooms before it gets what waited.
// `onState` hears { name, transport, why }: the name is "live", "connecting" or
// "offline", and `why` says in a sentence what keeps this page from connecting.
// The answer has the socket, and `goOffline` and `goOnline`.
export async function connect(me, rooms, onState) {
	const { io } = await import("/socket.io/socket.io.esm.min.js");
	const socket = io({
		retries: 10,
		ackTimeout: 10_000,
		auth: (give) => give({ token: me.token, rooms: rooms() }),
	});

	let away = false; // offline by choice
	let why = ""; // the last attempt failed
	const tell = () => {
		if (socket.connected) onState({ name: "live", transport: socket.io.engine.transport.name });
		else if (away) onState({ name: "offline", why: "You are offline." });
		else if (!navigator.onLine) onState({ name: "offline", why: "This device is offline." });
		else onState({ name: "connecting", why });
	};
	socket.on("connect", () => {
		why = "";
		tell();
		socket.io.engine.on("upgrade", tell);
	});
	socket.on("disconnect", tell);
	socket.io.on("close", (_, error) => {
		why = error?.description > 0 ? reason(error) : "The connection broke.";
		tell();
	});
	addEventListener("offline", tell);
	addEventListener("online", () => {
		tell();
		if (!away && !socket.connected) socket.disconnect().connect(); // now, not after the client's pause
	});

	// The connection breaks, as without a network: the server keeps this socket
	// for the time of its option recovery. After socket.disconnect() it would not.
	const goOffline = () => {
		away = true;
		if (socket.connected) {
			socket.io.reconnection(false);
			socket.io.engine.close();
		} else socket.disconnect();
		tell();
	};
	const goOnline = () => {
		away = false;
		socket.io.reconnection(true);
		socket.connect();
		tell();
	};

	// A refusal is final for the client; a later token may still be good.
	socket.on("connect_error", async (error) => {
		why = reason(error);
		tell();
		if (socket.active) return;
		const fresh = await renew(me);
		if (!fresh) return logOut(expired(me) ? "Your token has expired." : `The server says: ${error.message}`);
		me = fresh;
		socket.connect();
	});
	// Ten seconds are left to show a later token; the connection stays then.
	socket.on("token-expired", async () => {
		const fresh = await renew(me);
		if (!fresh) return logOut("Your token has expired.");
		me = fresh;
		socket.emit("auth-refresh", { token: me.token });
	});
	tell();
	return { socket, goOffline, goOnline };
}

// reason says why an attempt to connect failed. Of a request that was answered,
// the client's error has the HTTP status as its description.
function reason({ description }) {
	switch (description) {
		case 403:
			return "The server does not allow pages of this address (HTTP 403); its log says what to change.";
		case 404:
			return "The server has no Socket.IO endpoint at /socket.io/ (HTTP 404).";
		case 503:
			return "The server takes no more connections for now (HTTP 503).";
	}
	return description > 0 ? `The server answers with an error (HTTP ${description}).` : "The server does not answer.";
}
