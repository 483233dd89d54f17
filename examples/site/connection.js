// The connection: the stock socket.io-client, told what this page needs.

import { expired, logOut, renew } from "./login.js";

// connect makes the socket of an identity. While there is no connection, what
// is emitted waits in the client, in order; `retries` and `ackTimeout` send it
// again until the server has answered. `rooms` is asked at every connect, so
// that the server has this socket in its rooms before it gets what waited.
// `onState` hears "live", "connecting" or "offline", and the transport.
export async function connect(me, rooms, onState) {
	const { io } = await import("/socket.io/socket.io.esm.min.js");
	const socket = io({
		retries: 10,
		ackTimeout: 10_000,
		auth: (give) => give({ token: me.token, rooms: rooms() }),
	});

	const tell = () => {
		if (socket.connected) onState("live", socket.io.engine.transport.name);
		else onState(socket.active && navigator.onLine ? "connecting" : "offline");
	};
	socket.on("connect", () => {
		tell();
		socket.io.engine.on("upgrade", tell);
	});
	socket.on("disconnect", tell);
	addEventListener("offline", tell);
	addEventListener("online", () => {
		tell();
		if (socket.active && !socket.connected) socket.disconnect().connect(); // now, not after the client's pause
	});

	// A refusal is final for the client; a later token may still be good.
	socket.on("connect_error", async (error) => {
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
	return socket;
}
