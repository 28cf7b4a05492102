const { Client } = await import("undici");

process.stdout.write(Client.name);
