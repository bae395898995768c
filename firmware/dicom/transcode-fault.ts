import { Fault } from '../domain/errors.ts'

/** What cannot be re-encoded without loss, or not be read. The object is as it was. */
export class TranscodeFault extends Fault {
  constructor(detail: string) {
    super('NOT_CONVERTIBLE', { detail })
    this.name = 'TranscodeFault'
  }
}
