// Brings the official image's mongod to a replica set of one that takes writes. May be repeated; what it cannot do is
// said as an error, and tried again.
const fs = require('fs');
const member = {_id: 0, host: '127.0.0.1:27017'};
const admin = connect('mongodb://127.0.0.1:27017/admin?directConnection=true');

const password = fs.readFileSync(process.env.MONGO_INITDB_ROOT_PASSWORD_FILE, 'utf8').trim();
try {
  admin.auth('root', password);
} catch (refused) {
  print('mongo: the data was made with another root password: put the old secret mongo_root_password back');
  quit(1);
}
try {
  admin.runCommand({replSetInitiate: {_id: 'chatbot', members: [member]}});
} catch (refused) {
  if (refused.codeName !== 'AlreadyInitialized') throw refused;
}
for (let look = 0; !admin.hello().isWritablePrimary; look++) {
  if (look > 600) throw new Error('mongo: mongod takes no writes: the replica set of one has not come about');
  sleep(100);
}

// The proxy's user has the password of today: a restore may have brought another.
const proxyPassword = fs.readFileSync(process.env.MONGO_PASSWORD_FILE, 'utf8').trim();
const database = admin.getSiblingDB(process.env.MONGO_DATABASE);
const roles = [{role: 'dbOwner', db: process.env.MONGO_DATABASE}];
const user = process.env.MONGO_USER;
if (database.getUser(user)) {
  database.updateUser(user, {pwd: proxyPassword, roles: roles});
} else {
  database.createUser({user: user, pwd: proxyPassword, roles: roles});
}

// The data's version goes up to the server's own: the next server takes data of one version before its own alone. Where
// it cannot be done now everything works all the same, and the next start tries again.
const own = admin.runCommand({buildInfo: 1}).versionArray.slice(0, 2).join('.');
const known = admin.runCommand({getParameter: 1, featureCompatibilityVersion: 1}).featureCompatibilityVersion;
// With a target: a server was ended in the middle of it.
if (known.version !== own || known.targetVersion) {
  // Asked for from 7.0 on, and unknown before.
  const confirmed = parseInt(own) >= 7 ? {confirm: true} : {};
  try {
    admin.runCommand({setFeatureCompatibilityVersion: own, ...confirmed});
    print(`mongo: the data were of MongoDB ${known.version}, and are ${own}'s now`);
  } catch (refused) {
    print(`mongo: the data stay of MongoDB ${known.version} on ${own}: ${refused.message}`);
  }
}
