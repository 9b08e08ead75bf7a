// Run once by the official image on an empty data folder, after it has made the root user from its own secret.
// The proxy's user owns one database and nothing else.
const password = require('fs').readFileSync(process.env.MONGO_PASSWORD_FILE, 'utf8').trim();
const database = process.env.MONGO_DATABASE;
db.getSiblingDB(database).createUser({
  user: process.env.MONGO_USER,
  pwd: password,
  roles: [{role: 'dbOwner', db: database}],
});
