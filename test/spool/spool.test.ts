import t from 'tap'
import { spoolContract } from './contract.ts'
import type { SpoolPort, Trial } from './contract.ts'
import { Place, read } from './place.ts'
import type { Spool } from '../../firmware/spool/spool.ts'

class LevelTrial extends Place implements Trial {
  read = read
  override put(spool: SpoolPort, image = {}) {
    return super.put(spool as Spool, image)
  }
  override take(spool: SpoolPort, destination?: string, count?: number) {
    return super.take(spool as Spool, destination, count)
  }
}

void t.test('contract', async (t) => spoolContract(t, () => new LevelTrial()))
